"""A frame with what was found in it, for sinks that draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..arrays import F32, U8
from ..structs import Frame, Localization, PoseEstimate
from .sink import Sink


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Look:
    """Its own copies, so that they may be drawn while the next frame is localised."""

    estimate: PoseEstimate
    #: (H,W) or (H,W,3) BGR
    image: U8
    #: (N,2) keypoints, pixels
    xy_px: F32
    #: (M,2) of matches that agree with the pose
    inlier_xy_px: F32
    #: (M,3) map points of these
    inlier_xyz: F32

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        arrays = self.image, self.xy_px, self.inlier_xy_px, self.inlier_xyz
        return sum(array.nbytes for array in arrays)


@runtime_checkable
class Draws(Sink, Protocol):
    """A sink that also takes looks, no more often than `looks_hz`."""

    looks_hz: float

    def draw(self, look: Look) -> None:
        """Comes after the look's estimate was written. Raises SinkError."""


def take_look(frame: Frame, result: Localization) -> Look:
    """Copies of what is worth drawing; only while `result` is the last frame's."""
    rows = result.estimate.inlier_index
    rows = np.zeros(0, np.int32) if rows is None else rows
    return Look(
        estimate=result.estimate,
        image=frame.image.copy(),
        xy_px=result.features.xy_px.copy(),
        inlier_xy_px=result.matches.xy_px[rows].astype(np.float32),
        inlier_xyz=result.matches.xyz_world[rows].astype(np.float32),
    )
