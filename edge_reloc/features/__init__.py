"""Local features: keypoints and descriptors of a frame."""

from .spec import FeatureSpec, NetworkSpec

__all__ = ["FeatureSpec", "NetworkSpec"]
