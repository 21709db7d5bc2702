"""What flows between the stages: structs of fixed capacity, `n` valid rows.

N keypoints, D descriptor, E embedding, C candidates, M correspondences.
Buffers are taken once from the arena; a stage writes into its `out` struct,
sets `n`, and leaves a valid struct (n = 0) when it has nothing to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry.camera import Camera
from .memory.arena import Arena

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One camera image.

    image: (H,W) grey or (H,W,3) BGR uint8. t_ns: capture time, monotonic
    nanoseconds. quarter_turns: counter-clockwise quarter turns that bring the
    image to the map's heading, when a compass or the flight plan tells; None
    lets the localiser find out where the map calls for it.
    """

    image: U8
    t_ns: int
    camera: Camera | None
    index: int = 0
    name: str = ""
    quarter_turns: int | None = None


class Features:
    """Keypoints of one frame, best score first.

    xy_px (N,2) float32, score (N,) float32, descriptor (N,D) float32 of unit
    length, embedding (E,) float32 of unit length (E may be 0), place (G,) float32: what
    the feature network says of the image as a whole (G is 0 where it says nothing).
    row (N,) int32: of the feature network's outputs, where there is one.
    camera: that they were seen with, None where nobody said.
    """

    def __init__(
        self, arena: Arena, capacity: int, dim: int, embedding_dim: int, place_dim: int = 0
    ) -> None:
        self.xy_px: F32 = arena.take("features.xy_px", (capacity, 2), np.float32)
        self.score: F32 = arena.take("features.score", (capacity,), np.float32)
        self.descriptor: F32 = arena.take("features.descriptor", (capacity, dim), np.float32)
        self.embedding: F32 = arena.take("features.embedding", (embedding_dim,), np.float32)
        self.place: F32 = arena.take("features.place", (place_dim,), np.float32)
        self.row: I32 = arena.take("features.row", (capacity,), np.int32)
        self.camera: Camera | None = None
        self.n = 0

    @property
    def capacity(self) -> int:
        return len(self.xy_px)


class Candidates:
    """Map points a frame may see.

    point_id (C,) int32, ascending; group (C,) int32 and query_group (N,)
    int32: a keypoint may match only candidates of its own group; score (C,)
    float32, larger is likelier. `truncated` counts what capacity cut off.
    """

    def __init__(self, arena: Arena, capacity: int, keypoints: int) -> None:
        self.point_id: I32 = arena.take("candidates.point_id", (capacity,), np.int32)
        self.group: I32 = arena.take("candidates.group", (capacity,), np.int32)
        self.query_group: I32 = arena.take("candidates.query_group", (keypoints,), np.int32)
        self.score: F32 = arena.take("candidates.score", (capacity,), np.float32)
        self.n = 0
        self.truncated = 0

    @property
    def capacity(self) -> int:
        return len(self.point_id)

    def clear(self) -> None:
        """Empty, one group for everything."""
        self.n = 0
        self.truncated = 0
        self.group[:] = 0
        self.query_group[:] = 0


class Correspondences:
    """2D-3D matches: xy_px (M,2) and xyz_world (M,3) float64, weight (M,).

    keypoint and point_id (M,) int32 say where they came from (-1: from no map
    point, as in scene coordinate regression).
    """

    def __init__(self, arena: Arena, capacity: int) -> None:
        self.xy_px: F64 = arena.take("correspondences.xy_px", (capacity, 2), np.float64)
        self.xyz_world: F64 = arena.take("correspondences.xyz_world", (capacity, 3), np.float64)
        self.weight: F32 = arena.take("correspondences.weight", (capacity,), np.float32)
        self.keypoint: I32 = arena.take("correspondences.keypoint", (capacity,), np.int32)
        self.point_id: I32 = arena.take("correspondences.point_id", (capacity,), np.int32)
        self.n = 0

    @property
    def capacity(self) -> int:
        return len(self.xy_px)


class Status(str, Enum):
    """Whether a frame was localised; only OK carries a pose."""

    OK = "OK"
    NO_FEATURES = "NO_FEATURES"  # the image shows too little: dark, blurred, blank
    NO_MATCHES = "NO_MATCHES"  # the image is fine, the map does not know it
    NO_POSE = "NO_POSE"  # matches agree on no camera position
    IMPLAUSIBLE = "IMPLAUSIBLE"  # a pose was found and refused by the gate


@dataclass(frozen=True, kw_only=True)
class PoseEstimate:
    """The answer for one frame.

    cam_from_world: (4,4) or None unless status is OK. covariance: (6,6) of
    [rotation rad, translation m] for the left perturbation
    true = Exp(delta) @ cam_from_world, or None. inliers: matches that agree.
    inlier_index: rows of the correspondences that agree. stages_ms: wall time
    by stage. reason: None when OK, otherwise one line for a person.
    """

    t_ns: int
    status: Status
    reason: str | None = None
    cam_from_world: F64 | None = None
    covariance: F64 | None = None
    inliers: int = 0
    matches: int = 0
    candidates: int = 0
    keypoints: int = 0
    inlier_index: I32 | None = None
    index: int = 0
    name: str = ""
    stages_ms: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One line of `--output poses.jsonl`, the contract with other tools."""
        return {
            "frame": self.index,
            "name": self.name,
            "t_ns": self.t_ns,
            "status": self.status.value,
            "reason": self.reason,
            "cam_from_world": None if self.cam_from_world is None else self.cam_from_world.tolist(),
            "covariance": None if self.covariance is None else self.covariance.tolist(),
            "inliers": self.inliers,
            "candidates": self.candidates,
            "stages_ms": {stage: round(ms, 3) for stage, ms in self.stages_ms.items()},
        }
