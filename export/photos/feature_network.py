"""The feature settings of a map; learned features are exported to its photos' sizes."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from edge_reloc.bundle.layout import network_file
from edge_reloc.errors import missing_package
from edge_reloc.features import FeatureSpec, NetworkSpec

log = logging.getLogger(__name__)

MAX_SIDE_PX = 1024  # longer photos are made smaller first
MAX_NETWORKS = 4
SIFT_MIN_SIMILARITY = 0.8
SIFT_MAX_RATIO = 0.9

Size = tuple[int, int]


def feature_settings(
    kind: str, weights: Path | None, keypoints: int, sizes: Iterable[Size], work: Path
) -> FeatureSpec:
    """Spec of a kind of features, with its networks written under `work`.

    weights: None for those that ship with the package. sizes: (width, height) of every
    photo. The four commonest sizes get a network each; other photos are fitted into the
    one that suits best.
    """
    if kind == "sift":
        return FeatureSpec(
            kind="sift",
            dim=128,
            keypoints=keypoints,
            max_side=MAX_SIDE_PX,
            min_similarity=SIFT_MIN_SIMILARITY,
            max_ratio=SIFT_MAX_RATIO,
        )
    try:
        from ..nets.local_features import weights_file
    except ModuleNotFoundError as error:
        purpose = f"features '{kind}' (--features sift needs no network)"
        raise missing_package(error.name or "torch", purpose, "export") from None
    weights = weights_file(kind, weights)
    common = network_sizes(sizes)
    from ..onnx.export import feature_spec

    stamp = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    networks = [_network(kind, weights, size, keypoints, stamp, work) for size in common]
    return feature_spec(kind, weights, keypoints, networks)


def network_sizes(sizes: Iterable[Size]) -> list[Size]:
    """Input sizes of the networks of a map: of the commonest photos, no longer than 1024."""
    common = Counter(_network_size(size) for size in sizes).most_common()
    if len(common) > MAX_NETWORKS:
        log.info(
            "%d photo sizes: networks for the %d commonest, the rest are fitted into them",
            len(common),
            MAX_NETWORKS,
        )
    return [size for size, _ in common[:MAX_NETWORKS]]


def _network_size(size: Size) -> Size:
    scale = min(1.0, MAX_SIDE_PX / max(size))
    return round(size[0] * scale), round(size[1] * scale)


def _network(
    kind: str, weights: Path, size: Size, keypoints: int, stamp: str, work: Path
) -> NetworkSpec:
    width, height = size
    # The stamp keeps a network of other weights or length from being taken for this one.
    file = network_file(f"{kind}_{width}x{height}_{keypoints}_{stamp}")
    if not (work / file).is_file():
        from ..onnx.export import export_features

        (work / file).parent.mkdir(parents=True, exist_ok=True)
        log.info("exporting %s for %dx%d photos", kind, width, height)
        export_features(kind, weights, width, height, keypoints, work / file)
    return NetworkSpec(file=file, width=width, height=height)
