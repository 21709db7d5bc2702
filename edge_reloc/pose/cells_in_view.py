"""The cells of a map that a camera may see: few of them, however large the map.

Whatever lies in the viewing cone is not seen: walls hide most of a city, and a point that was
mapped from two metres is not found again from fifty. Looking for all of it would take a time that
grows with the map, and would count against a right pose that nothing of it is there. So a
cell is looked for from around where mapping photos saw it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays import F64
from ..bundle.points import PointMap
from ..geometry.camera import Camera
from ..geometry.rigid import camera_centre, transform

# How far from the photos that saw a cell, in their mean distance from it: that is 40 degrees
# around it, or 1.7 times as far away. Of photos that were left out of maps with their neighbours,
# up to half of a map, none was lost so; docs/scaling.md has the figures.
BEYOND = 0.7


class CellsInView:
    """Tells which cells reach into the viewing cone of a camera that may know them."""

    def __init__(self, points: PointMap) -> None:
        self._centre = points.cell_centre
        self._radius = points.cell_radius
        self._from: NDArray[np.float32] | None = None
        if points.observers is not None:
            self._from = np.ascontiguousarray(points.observers[:, :3].T)
            self._within2 = (points.observers[:, 3] + BEYOND * points.observers[:, 4]) ** 2

    def find(self, camera: Camera, cam_from_world: F64) -> NDArray[np.intp]:
        """Numbers of the cells, ascending."""
        if self._from is None:
            return self._in_cone(camera, cam_from_world, None)
        away = self._from - camera_centre(cam_from_world).astype(np.float32)[:, None]
        away *= away
        known = np.flatnonzero(away[0] + away[1] + away[2] <= self._within2)
        return known[self._in_cone(camera, cam_from_world, known)]

    def _in_cone(
        self, camera: Camera, cam_from_world: F64, rows: NDArray[np.intp] | None
    ) -> NDArray[np.intp]:
        """Of some cells, or of all, those that reach into the viewing cone."""
        centre, radius = self._centre, self._radius
        if rows is not None:
            centre, radius = centre[rows], radius[rows]
        x, y, z = transform(cam_from_world, centre.astype(np.float64)).T
        across2 = x**2 + y**2
        distance = np.sqrt(across2 + z**2)
        angle = np.arctan2(np.sqrt(across2), z)
        slack = np.arcsin(np.clip(radius / np.maximum(distance, 1e-9), 0.0, 1.0))
        return np.flatnonzero((angle - slack < np.arctan(camera.reach)) | (distance <= radius))
