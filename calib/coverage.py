"""How much of the image, and how much tilt, the views cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .residuals import View

GRID = (4, 3)  # cells across and down
SIDES = {
    "the whole left half": np.s_[:, :2],
    "the whole right half": np.s_[:, 2:],
    "the whole top": np.s_[0, :],
    "the whole bottom": np.s_[2, :],
    "the whole left edge": np.s_[:, 0],
    "the whole right edge": np.s_[:, 3],
}


@dataclass(frozen=True)
class Coverage:
    """Corners in each cell of the image, and how far out they reach."""

    #: (3,4) corners in each cell of GRID
    corners: NDArray[np.int64]
    #: share of the half diagonal within which 98 % of the corners lie, 0 to 1
    reach: float

    @classmethod
    def of(cls, views: Sequence[View], width: int, height: int) -> Coverage:
        """Coverage of an image of width x height pixels."""
        across, down = GRID
        if not views:
            return cls(np.zeros((down, across), np.int64), 0.0)
        xy_px = np.concatenate([view.xy_px for view in views])
        edges = (
            np.linspace(-0.5, height - 0.5, down + 1),
            np.linspace(-0.5, width - 0.5, across + 1),
        )
        corners = np.histogram2d(xy_px[:, 1], xy_px[:, 0], bins=edges)[0].astype(np.int64)
        centre = np.array([width - 1, height - 1]) / 2
        radius = np.linalg.norm(xy_px - centre, axis=1) / np.linalg.norm(centre)
        return cls(corners, float(np.percentile(radius, 98)))

    @property
    def share(self) -> float:
        """Share of the cells that have a corner, 0 to 1."""
        return float((self.corners > 0).mean())

    def missing(self) -> list[str]:
        """Where in the image no corner was seen, in words, whole sides before single cells."""
        empty = self.corners == 0
        if empty.all():
            return ["everywhere"]
        told = []
        for name, cells in SIDES.items():
            if empty[cells].all():
                told.append(name)
                empty[cells] = False
        for down, across in np.argwhere(empty):
            words = (("top", "", "bottom")[down], ("left", "left of the middle",
                     "right of the middle", "right")[across])  # fmt: skip
            told.append(" ".join(word for word in words if word))
        return told

    def rows(self) -> list[str]:
        """The grid as text, '#' for a cell with corners."""
        return ["".join("#" if n else "." for n in row) for row in self.corners]


def tilts_deg(cam_from_board: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(V,) angle between each board's normal and the optical axis, degrees."""
    cosine = np.array([abs(pose[2, 2]) for pose in cam_from_board])
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, 0, 1))))
