"""The table of feature networks, and the whole graph from image to keypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_reloc.errors import ConfigError

from .detector import Detector, Keypoints
from .edgepoint2 import load_edgepoint2
from .waymark import load_waymark
from .xfeat import load_xfeat


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """How to load one kind of network, and the settings it was tuned for.

    load: weights file -> module with `dense(image) -> DenseMaps` and `dim`.
    stride: pixels a descriptor cell covers. threshold: heat under which there is
    no keypoint. min_similarity: cosine that a 2D-3D match must reach, by D. border_px:
    width of the rim where the image's own edge makes keypoints. float32: layers (names
    or patterns) that stay float32 in a float16 export: their numbers become positions.
    """

    load: Callable[[Path], Any]
    stride: int
    threshold: float
    min_similarity: dict[int, float]
    border_px: int = 0
    float32: tuple[str, ...] = ()


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
    # Learns its keypoints from EdgePoint2, so it has the same threshold.
    "waymark": FeatureNetwork(
        load=load_waymark,
        stride=8,
        threshold=5e-4,
        min_similarity={64: 0.82},
        border_px=4,
        float32=("network.detect*",),
    ),
}


class LocalFeatures(nn.Module):
    """Grey image (1,1,H,W) in 0..255 to K keypoints, in one static graph."""

    def __init__(self, network: Any, detector: Detector) -> None:
        super().__init__()
        self.network = network
        self.detector = detector

    def forward(self, image: Tensor) -> Keypoints:
        """xy_px (K,2), scores (K,), descriptors (K,D); see `Keypoints`."""
        keypoints: Keypoints = self.detector(self.network.dense(image))
        return keypoints


def feature_network(kind: str) -> FeatureNetwork:
    """The table's entry; ConfigError for a kind that it does not have."""
    if kind not in NETWORKS:
        raise ConfigError(f"feature network: found '{kind}', expected one of {', '.join(NETWORKS)}")
    return NETWORKS[kind]


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
