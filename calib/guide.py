"""What views are still missing, told while they are taken."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .coverage import GRID, Coverage
from .fit import board_poses, undistorted
from .residuals import View

Array = NDArray[np.float64]

TILTED_DEG = 15.0
TILTS = ("left", "right", "top", "bottom")  # the edge that is nearer to the camera
DISTANCES = 1.5  # the farthest over the nearest that are wanted
NEAR_SHARE = 0.25  # of the image, that the corners of one view span at least
GUESSED_FOCAL = 0.8  # of the image's width: good enough to tell which way a board leans
GREEN, RED = (70, 170, 70), (60, 60, 210)  # BGR


class Guide:
    """Regions, tilts and distances of the views so far, in an image of width x height pixels."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._views: list[View] = []
        self._leaning: set[str] = set()
        self._distances_m: list[float] = []
        self._spanned = 0.0
        self._coverage = Coverage.of([], width, height)
        self._camera = undistorted("pinhole", width, height, GUESSED_FOCAL)

    def add(self, view: View) -> None:
        """A view that was taken."""
        self._views.append(view)
        self._coverage = Coverage.of(self._views, self._width, self._height)
        hull = cv2.convexHull(view.xy_px.astype(np.float32))
        self._spanned = max(self._spanned, cv2.contourArea(hull) / (self._width * self._height))
        pose = board_poses(self._camera, [view])[0]
        if not np.isfinite(pose).all():
            return
        self._leaning |= leaning(pose)
        middle = pose[:3, :3] @ view.xyz_board.mean(axis=0) + pose[:3, 3]
        self._distances_m.append(float(np.linalg.norm(middle)))

    def missing(self) -> list[str]:
        """What to do next, in words, nothing when it is enough."""
        wanted = [f"bring the board to {where}" for where in self._coverage.missing()]
        wanted += [f"tilt it, {edge} edge nearer" for edge in TILTS if edge not in self._leaning]
        if self._spanned < NEAR_SHARE:
            wanted.append(f"nearer, until it fills {NEAR_SHARE:.0%} of the picture")
        elif max(self._distances_m, default=0) < DISTANCES * min(self._distances_m, default=1):
            wanted.append("farther away, half as far again")
        return wanted

    def text(self) -> str:
        """In a line: the cells with corners, and the first thing that is missing."""
        covered, wanted = self._coverage, self.missing()
        more = f" (and {len(wanted) - 1} more)" if len(wanted) > 1 else ""
        todo = wanted[0] + more if wanted else "nothing is missing"
        return f"coverage {covered.share:4.0%}  {'|'.join(covered.rows())}  {todo}"

    def draw(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H,W,3) the picture with seen cells green, others red, and what is missing written."""
        out = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
        (across, down), seen = GRID, self._coverage.corners > 0
        tint = np.empty_like(out)
        for row, col in np.ndindex(down, across):
            top, bottom = (round(v * out.shape[0] / down) for v in (row, row + 1))
            left, right = (round(v * out.shape[1] / across) for v in (col, col + 1))
            tint[top:bottom, left:right] = GREEN if seen[row, col] else RED
        out = cv2.addWeighted(out, 0.75, tint, 0.25, 0)
        for view in self._views:
            for x, y in np.round(view.xy_px).astype(int):
                cv2.circle(out, (int(x), int(y)), 2, (255, 255, 0), -1)
        scale = out.shape[1] / 1100
        for i, line in enumerate(self.missing() or ["nothing is missing"]):
            at = (round(20 * scale), round((i + 1) * 34 * scale) + 10)
            for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
                cv2.putText(
                    out,
                    line,
                    at,
                    cv2.FONT_HERSHEY_SIMPLEX,
                    scale,
                    colour,
                    max(1, round(width * scale)),
                    cv2.LINE_AA,
                )
        return np.asarray(out, np.uint8)


def leaning(cam_from_board: Array) -> set[str]:
    """Which edges of the board, as the image shows it, are nearer; of TILTS."""
    normal = cam_from_board[:3, 2] * np.sign(cam_from_board[2, 2])
    slopes: Sequence[float] = normal[:2] / normal[2]  # depth falls that way
    steep = np.tan(np.radians(TILTED_DEG))
    found = set()
    for slope, (less, more) in zip(slopes, (TILTS[:2], TILTS[2:]), strict=True):
        if abs(slope) > steep:
            found.add(more if slope > 0 else less)
    return found
