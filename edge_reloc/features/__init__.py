"""Local features: keypoints and descriptors of a frame."""

from .spec import FeatureSpec, NetworkSpec, open_extractor

__all__ = ["FeatureSpec", "NetworkSpec", "open_extractor"]
