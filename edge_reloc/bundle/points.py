"""The map points as the runtime holds them: memory-mapped, sorted by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import (
    CELL_CENTRE,
    CELL_OBSERVERS,
    CELL_RADIUS,
    CELL_START,
    DESCRIPTORS,
    DIRECTION,
    SIGMA,
    XYZ,
)
from .reader import MapBundle


@dataclass(frozen=True, kw_only=True)
class PointMap:
    """P points in K cells; the points of a cell are neighbours in memory."""

    #: (P,3), world units
    xyz: NDArray[np.float32]
    #: (P,D), of unit length after multiplication with `scale`
    descriptor: NDArray[np.float16] | NDArray[np.int8]
    #: (K+1,): cell k holds points start[k] to start[k+1], the best-observed first
    cell_start: NDArray[np.int32]
    #: (K,3), world units
    cell_centre: NDArray[np.float32]
    #: (K,), world units: all points of the cell lie within
    cell_radius: NDArray[np.float32]
    #: of the descriptors' numbers; 1 unless they are int8
    scale: float = 1.0
    #: (P,3), mean of the unit vectors from the point to the cameras that saw it, times 127;
    #: None in maps that do not tell
    direction: NDArray[np.int8] | None = None
    #: (P,2), world units: standard deviations across that direction and along it; None in maps
    #: that do not tell
    sigma: NDArray[np.float16] | None = None
    #: (K,5), world units: middle (3) and radius of a ball around the mapping photos that saw a
    #: cell, and their mean distance from it, its radius added; None in maps that do not tell
    observers: NDArray[np.float32] | None = None

    @property
    def n(self) -> int:
        return len(self.xyz)

    @property
    def cells(self) -> int:
        return len(self.cell_centre)

    @property
    def dim(self) -> int:
        return int(self.descriptor.shape[1])

    def decode(self, descriptor: NDArray[Any], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of `descriptor` as unit vectors, in `out`, which is returned."""
        out[:] = descriptor
        if self.scale != 1.0:
            out *= np.float32(self.scale)
        return out

    def points_of_cells(self, cells: NDArray[Any]) -> NDArray[np.int32]:
        """Ids of the points in the given cells, cell by cell."""
        parts = [
            np.arange(self.cell_start[k], self.cell_start[k + 1], dtype=np.int32) for k in cells
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def open_points(bundle: MapBundle) -> PointMap:
    """The points of a bundle; BundleError when the arrays do not fit together."""
    return PointMap(
        xyz=bundle.array(XYZ),
        descriptor=bundle.array(DESCRIPTORS),
        cell_start=np.asarray(bundle.array(CELL_START)),
        cell_centre=np.asarray(bundle.array(CELL_CENTRE)),
        cell_radius=np.asarray(bundle.array(CELL_RADIUS)),
        scale=bundle.manifest.features.descriptor_scale,
        direction=bundle.array(DIRECTION) if bundle.has(DIRECTION) else None,
        sigma=bundle.array(SIGMA) if bundle.has(SIGMA) else None,
        observers=np.asarray(bundle.array(CELL_OBSERVERS)) if bundle.has(CELL_OBSERVERS) else None,
    )
