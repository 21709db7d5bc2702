"""The table of feature networks, and the whole graph from image to keypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_reloc.errors import MappingError

from ..choice import choose
from .detector import DenseMaps, Detector, Keypoints
from .edgepoint2 import load_edgepoint2
from .waymark import load_waymark
from .xfeat import load_xfeat


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """How to load one kind of network, and the settings it was tuned for."""

    load: Callable[[Path], Any]  #: weights file -> module with `dense(image)` and `dim`
    stride: int  #: pixels that a descriptor cell covers
    threshold: float  #: heat under which there is no keypoint
    min_similarity: dict[int, float]  #: cosine that a 2D-3D match must reach, by D
    border_px: int = 0  #: width of the rim where the image's own edge makes keypoints
    #: layers (names or patterns) that stay float32 in a float16 export: their numbers become
    #: positions
    float32: tuple[str, ...] = ()
    shipped: Path | None = None  #: weights of the package; None where users name their own
    #: cosine that a match between mapping photos must reach; None for the same
    pair_similarity: float | None = None
    min_coverage: float = 0.5  #: share of the image that must agree with a pose


NETWORKS = {
    "xfeat": FeatureNetwork(
        load=load_xfeat,
        stride=8,
        threshold=0.05,
        min_similarity={64: 0.82},
        float32=("network.keypoints.*",),
    ),
    # The published threshold, 0.5, leaves 265 keypoints of a blurred indoor photo; at
    # 5e-4 (a logit of -7.6) the best 2048 hold more right matches than XFeat's.
    "edgepoint2": FeatureNetwork(
        load=load_edgepoint2,
        stride=4,
        threshold=5e-4,
        min_similarity={32: 0.88, 48: 0.85, 64: 0.82},  # 48 lies between, not measured
        border_px=4,
    ),
    # Learns its keypoints from EdgePoint2, so it has the same threshold. Frames localise
    # alike from 0.5 to 0.7; at 0.82 a fifth of kitchen's, the blurred ones, are lost.
    "waymark": FeatureNetwork(
        load=load_waymark,
        stride=8,
        threshold=5e-4,
        min_similarity={64: 0.65},
        pair_similarity=0.82,
        # Right poses of five places reach 0.84 and more, the one wrong pose 0.63.
        min_coverage=0.7,
        border_px=4,
        float32=("network.detect*",),
        shipped=Path(__file__).parent / "weights" / "waymark_m.pt",
    ),
}


class LocalFeatures(nn.Module):
    """Grey image (1,1,H,W) in 0..255 to K keypoints, in one static graph."""

    def __init__(self, network: Any, detector: Detector) -> None:
        super().__init__()
        self.network = network
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """xy_px (K,2), scores (K,), descriptors (K,D), see `Keypoints`; and place
        (1,G,H/32,W/32) of networks that have it.
        """
        maps: DenseMaps = self.network.dense(image)
        keypoints: Keypoints = self.detector(maps)
        return keypoints if maps.place is None else (*keypoints, maps.place)

    @property
    def output_names(self) -> list[str]:
        """Of what `forward` returns, in order."""
        names = ["xy_px", "scores", "descriptors"]
        return names + (["place"] if place_dim(self.network) else [])


def place_dim(network: Any) -> int:
    """G of a network's place embedding, 0 for networks without one."""
    return int(getattr(network, "place_dim", 0))


def feature_network(kind: str) -> FeatureNetwork:
    """The table's entry; ConfigError for a kind that it does not have."""
    return choose(NETWORKS, kind, "feature network")


def weights_file(kind: str, named: Path | None) -> Path:
    """The weights to use: the named file, or those that ship with the package."""
    file = named or feature_network(kind).shipped
    if file is None:
        raise MappingError(f"features '{kind}' need their weights: name the file with --weights")
    if not file.is_file():
        raise MappingError(f"{file}: no such weights file; name another with --weights")
    return file


def float32_layers(kind: str) -> list[str]:
    """Layers of a kind that a float16 export leaves in float32."""
    return list(NETWORKS[kind].float32) if kind in NETWORKS else []


def load_local_features(kind: str, weights: Path, keypoints: int) -> LocalFeatures:
    """The graph of one kind with weights from a file, ready to run or export."""
    entry = feature_network(kind)
    detector = Detector(
        keypoints, threshold=entry.threshold, stride=entry.stride, border_px=entry.border_px
    )
    return LocalFeatures(entry.load(weights), detector).eval()
