"""The narrow waist: one protocol a stage.

Frame -> Extractor -> Features -+-> Retriever -> Candidates -> Matcher -+-> Correspondences
                                +--------------- Regressor -------------+
Correspondences -> Solver -> PoseEstimate; a Registration is how a method asks for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .arrays import F32, F64, I32, Array
from .geometry.camera import Camera
from .structs import Candidates, Correspondences, Features, Frame, PoseEstimate, Work


class Extractor(Protocol):
    """Keypoints and descriptors of an image."""

    #: D, length of a descriptor; 0 where it gives coordinates instead
    dim: int
    #: whether it fills xyz_world instead of descriptor
    regresses: bool
    #: most that libraries take inside themselves for one image
    borrowed_bytes: int
    #: where on the GPU descriptors (K,D) float32 lie too, or 0
    device_descriptors: int

    def extract(self, frame: Frame, out: Features) -> None:
        """Fill xy_px, score and descriptor, best score first; set n."""


class Embedder(Protocol):
    """One vector that says where in the map an image may have been taken."""

    #: E
    dim: int

    def embed(self, frame: Frame, features: Features) -> None:
        """Fill features.embedding: of unit length, but for a class token."""


class Retriever(Protocol):
    """The map points that a frame may see."""

    def retrieve(self, features: Features, out: Candidates) -> None:
        """Fill point_id (ascending), group, query_group and score; set n."""


class Matcher(Protocol):
    """2D-3D matches between keypoints and candidates."""

    def match(self, features: Features, candidates: Candidates, out: Correspondences) -> None:
        """Fill the correspondences; set n."""


class Regressor(Protocol):
    """2D-3D matches without candidates: a network says where each keypoint lies."""

    def regress(self, features: Features, out: Correspondences) -> None:
        """Fill the correspondences; set n."""


class Solver(Protocol):
    """The camera pose that the correspondences agree on."""

    def threshold_px(self, camera: Camera) -> float:
        """Reprojection error up to which a match is an inlier of this camera."""

    def solve(self, camera: Camera, correspondences: Correspondences) -> PoseEstimate:
        """Status, pose, covariance and inliers; the caller adds frame and times."""

    def refine(
        self,
        camera: Camera,
        cam_from_world: F64,
        correspondences: Correspondences,
        narrowing: tuple[float, ...],
    ) -> PoseEstimate:
        """The same from a first pose on; narrowing: inlier thresholds of each round."""


class Refiner(Protocol):
    """Looks again where a pose says that map points should be.

    Both return the answer and the correspondences that it speaks of: those given, or a
    buffer that was kept here while those take its place. `refine` leaves those given as they
    are.
    """

    def refine(
        self, camera: Camera, features: Features, first: PoseEstimate, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """Around the pose of an estimate that has one."""

    def around(
        self, camera: Camera, features: Features, rough: Array, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """Around a pose (4,4) that is only roughly right."""


class Registration(Protocol):
    """From what was retrieved, or regressed, to a pose."""

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """The estimate; work.matches are then the correspondences that it speaks of."""


class Recogniser(Protocol):
    """Names what keypoints show by numbers, 0 for nothing of the map."""

    #: of a frame that it looks at, the best ones
    keypoints: int

    def labels(self, points: int) -> I32:
        """(P,) number of each map point, 0 for none."""

    def recognise(self, features: Features, outlier: float) -> tuple[NDArray[np.intp], F32]:
        """Number and probability (n,) of the best keypoints; outlier: P(nothing) over which
        a keypoint is dropped.
        """


class Remembers(Protocol):
    """A part whose answer to a frame hangs on the frames before it."""

    def recall(self) -> dict[str, Any]:
        """All of that: plain values and arrays, which are never changed in place."""

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
