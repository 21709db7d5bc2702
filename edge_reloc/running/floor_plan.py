"""Which way is up on the paper: a projection of the map onto a plane."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..arrays import U8
from ..geometry.rigid import Array

FEW_POINTS = 20_000  # up to here a point is drawn three pixels wide


class FloorPlan:
    """From above where gravity is known, else along the thinnest direction.

    xyz (P,3): map points. also (N,3): positions that must be on the paper.
    `extent`: world units along a side. `px_per_unit`: pixels of one unit.
    """

    def __init__(self, xyz: Array, also: Array, gravity: Array | None, size_px: int) -> None:
        self.title = "map from above" if gravity is not None else "main plane of the map"
        self._axes = _paper_axes(xyz, gravity)
        on_paper = xyz @ self._axes.T
        # Stray points must not shrink the rest.
        low, high = np.percentile(on_paper, [1, 99], axis=0)
        if len(also):
            low = np.minimum(low, (also @ self._axes.T).min(axis=0))
            high = np.maximum(high, (also @ self._axes.T).max(axis=0))
        self.extent = max(1.1 * float((high - low).max()), 1e-6)
        self.px_per_unit = size_px / self.extent
        self._centre = 0.5 * (low + high)
        self._size_px = size_px

    def pixels(self, xyz: Array) -> Array:
        """Pixels (N,2) of world points (N,3)."""
        on_paper = (xyz @ self._axes.T - self._centre) * self.px_per_unit
        return np.asarray(on_paper * (1.0, -1.0) + 0.5 * self._size_px)

    def density(self, xyz: Array) -> U8:
        """A square BGR picture of the points, darker where there are more."""
        cells = np.floor(self.pixels(xyz)).astype(np.int64)
        cells = cells[((cells >= 0) & (cells < self._size_px)).all(axis=1)]
        counts = np.zeros((self._size_px, self._size_px))
        np.add.at(counts, (cells[:, 1], cells[:, 0]), 1.0)
        if len(xyz) < FEW_POINTS:
            counts = cv2.dilate(counts, np.ones((3, 3)))
        ink = np.where(counts > 0, 70.0 + 50.0 * np.log2(1.0 + counts), 0.0)
        grey = 255 - np.minimum(ink, 190.0)
        return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)

    def scale_bar(self) -> float:
        """A round length (1, 2 or 5 times a power of ten) that fits the paper."""
        target = self.extent / 5.0
        power: float = 10.0 ** math.floor(math.log10(target))
        return max(f * power for f in (1.0, 2.0, 5.0) if f * power <= target)


def _paper_axes(xyz: Array, gravity: Array | None) -> NDArray[np.float64]:
    """Right and up on the paper, (2,3)."""
    if gravity is None:
        centred = xyz - np.median(xyz, axis=0)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        return np.asarray(vectors[:, [2, 1]].T)
    up = -gravity / np.linalg.norm(gravity)
    # World x points right, as east does on maps; y where x is the vertical.
    guess = np.eye(3)[0] if abs(up[0]) < 0.9 else np.eye(3)[1]
    right = guess - up * (guess @ up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right)])
