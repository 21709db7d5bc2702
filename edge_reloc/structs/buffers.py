"""Structs of fixed capacity that flow between the stages, `n` valid rows.

N keypoints, D descriptor, E embedding, C candidates, M correspondences.
Buffers are taken once from the arena; a stage writes into its `out` struct,
sets `n`, and leaves a valid struct (n = 0) when it has nothing to say.
"""

from __future__ import annotations

import numpy as np

from ..arrays import F32, F64, I32
from ..geometry.camera import Camera
from ..memory.arena import Arena


class Features:
    """Keypoints of one frame, best score first.

    dim: D, 0 where the feature network gives coordinates instead of descriptors.
    """

    def __init__(
        self,
        arena: Arena,
        capacity: int,
        dim: int,
        embedding_dim: int,
        place_dim: int = 0,
        *,
        regressed: bool = False,
    ) -> None:
        #: (N,2)
        self.xy_px: F32 = arena.take("features.xy_px", (capacity, 2), np.float32)
        #: (N,)
        self.score: F32 = arena.take("features.score", (capacity,), np.float32)
        #: (N,D) of unit length
        self.descriptor: F32 = arena.take("features.descriptor", (capacity, dim), np.float32)
        #: (N,3) where in the world each lies, (0,3) where no network says that
        rows = capacity if regressed else 0
        self.xyz_world: F32 = arena.take("features.xyz_world", (rows, 3), np.float32)
        #: (E,) of unit length, E may be 0
        self.embedding: F32 = arena.take("features.embedding", (embedding_dim,), np.float32)
        #: (G,) what the feature network says of the image as a whole, G may be 0
        self.place: F32 = arena.take("features.place", (place_dim,), np.float32)
        #: (N,) of the feature network's outputs, where there is one
        self.row: I32 = arena.take("features.row", (capacity,), np.int32)
        #: that they were seen with, None where nobody said
        self.camera: Camera | None = None
        self.n = 0

    @property
    def capacity(self) -> int:
        """N."""
        return len(self.xy_px)


class Candidates:
    """Map points a frame may see; a keypoint may match only those of its own group."""

    def __init__(self, arena: Arena, capacity: int, keypoints: int) -> None:
        #: (C,) ascending
        self.point_id: I32 = arena.take("candidates.point_id", (capacity,), np.int32)
        #: (C,)
        self.group: I32 = arena.take("candidates.group", (capacity,), np.int32)
        #: (N,)
        self.query_group: I32 = arena.take("candidates.query_group", (keypoints,), np.int32)
        #: (C,) larger is likelier
        self.score: F32 = arena.take("candidates.score", (capacity,), np.float32)
        self.n = 0
        #: what capacity cut off
        self.truncated = 0

    @property
    def capacity(self) -> int:
        """C."""
        return len(self.point_id)

    def clear(self) -> None:
        """Empty, one group for everything."""
        self.n = 0
        self.truncated = 0
        self.group[:] = 0
        self.query_group[:] = 0


class Correspondences:
    """2D-3D matches."""

    def __init__(self, arena: Arena, capacity: int) -> None:
        #: (M,2)
        self.xy_px: F64 = arena.take("correspondences.xy_px", (capacity, 2), np.float64)
        #: (M,3)
        self.xyz_world: F64 = arena.take("correspondences.xyz_world", (capacity, 3), np.float64)
        #: (M,)
        self.weight: F32 = arena.take("correspondences.weight", (capacity,), np.float32)
        #: (M,) row of the features
        self.keypoint: I32 = arena.take("correspondences.keypoint", (capacity,), np.int32)
        #: (M,) -1: of no map point, as in scene coordinate regression
        self.point_id: I32 = arena.take("correspondences.point_id", (capacity,), np.int32)
        self.n = 0

    @property
    def capacity(self) -> int:
        """M at most."""
        return len(self.xy_px)
