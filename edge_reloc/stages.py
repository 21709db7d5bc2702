"""The narrow waist: one protocol a stage.

Frame -> Extractor -> Features -> Retriever -> Candidates -> Matcher
      -> Correspondences -> Solver -> PoseEstimate
"""

from __future__ import annotations

from typing import Protocol

from .geometry.camera import Camera
from .structs import Candidates, Correspondences, Features, Frame, PoseEstimate


class Extractor(Protocol):
    """Keypoints and descriptors of an image."""

    dim: int  # D, length of a descriptor
    borrowed_bytes: int  # most that libraries take inside themselves for one image
    device_descriptors: int  # where on the GPU descriptors (K,D) float32 lie too, or 0

    def extract(self, frame: Frame, out: Features) -> None:
        """Fill xy_px, score and descriptor, best score first; set n."""


class Embedder(Protocol):
    """One vector that says where in the map an image may have been taken."""

    dim: int  # E

    def embed(self, frame: Frame, features: Features) -> None:
        """Fill features.embedding (unit length)."""


class Retriever(Protocol):
    """The map points that a frame may see."""

    def retrieve(self, features: Features, out: Candidates) -> None:
        """Fill point_id (ascending), group, query_group and score; set n."""


class Matcher(Protocol):
    """2D-3D matches between keypoints and candidates."""

    def match(self, features: Features, candidates: Candidates, out: Correspondences) -> None:
        """Fill the correspondences; set n."""


class Solver(Protocol):
    """The camera pose that the correspondences agree on."""

    def solve(self, camera: Camera, correspondences: Correspondences) -> PoseEstimate:
        """Status, pose, covariance and inliers; the caller adds frame and times."""
