"""Local features: keypoints and descriptors of a frame."""

from .extractor import open_extractor
from .spec import FeatureSpec, NetworkSpec

__all__ = ["FeatureSpec", "NetworkSpec", "open_extractor"]
