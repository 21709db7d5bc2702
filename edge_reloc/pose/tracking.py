"""Where the camera should be now, from where it was in the last frames.

A track that went wrong may go on to agree with itself. So every now and then the frame is also
searched for in the whole map, and what is found there verifies the tracked pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..geometry.camera import Camera
from ..geometry.rigid import Array, invert, normalised_error
from ..structs import PoseEstimate

OLDEST_NS = 500_000_000  # a pose older than this predicts nothing
# Standard deviation of where a prediction shows things, up to which a close look is tried first.
# It allows for the wildest motion: at 40 pixels (kitchen's mapping photos 130 ms apart) things
# were off by 6 in the median and 15 at most of the time, and all 56 looks found them; of the
# courtyard's, off by up to 26, 49 of 56. A look in vain costs a fifth of what it saves.
CLOSE_PX = 50.0
NEAR_NS = 5_000_000  # a prediction is of a frame whose time differs by less
# Squared distance of two poses of one frame in units of their covariances, up to which they are
# one place: as far as the filter of a stream believes a measurement.
ONE_PLACE = 40.0


class Expected(NamedTuple):
    """Where a frame should have been taken from."""

    cam_from_world: Array
    #: standard deviation of its rotation, None where nobody said
    std_rad: float | None = None

    def is_close(self, camera: Camera) -> bool:
        """Whether what it shows is off by few pixels only."""
        return self.std_rad is None or self.std_rad * camera.fx < CLOSE_PX


class Tracker:
    """Constant motion through the last two poses; the last pose while there is one.

    Knows only poses of frames that were localised, and forgets them when one is not. What
    others predict (`expect`) counts more. search_every: tracked frames in a row after which
    the next one's pose is to be verified by a search of the whole map.
    """

    def __init__(self, search_every: int = 30) -> None:
        self._search_every = search_every
        self._last: tuple[int, Array] | None = None
        self._step: tuple[int, Array] | None = None  # duration, now_from_before
        self._given: tuple[int, Expected] | None = None
        self._tracked = 0  # frames in a row
        self._doubted = False  # the last pose, by the search that was to verify it
        #: of the last frame
        self.inliers = 0

    def expect(self, t_ns: int, cam_from_world: Array, covariance: Array) -> None:
        """What somebody else knows of where the frame at a time is; (6,6) covariance."""
        std_rad = float(np.sqrt(max(np.linalg.eigvalsh(covariance[:3, :3])[-1], 0.0)))
        self._given = (t_ns, Expected(cam_from_world, std_rad))

    def predict(self, t_ns: int) -> Expected | None:
        """Where the frame at a time is, None when nothing recent is known or it is doubted."""
        if self._doubted:
            return None
        if self._given is not None and abs(t_ns - self._given[0]) < NEAR_NS:
            return self._given[1]
        if self._last is None or not 0 < t_ns - self._last[0] <= OLDEST_NS:
            return None
        t_last, cam_from_world = self._last
        if self._step is None:
            return Expected(cam_from_world)
        duration, motion = self._step
        # Frames come at an even pace: the same motion again, when the pace was kept.
        if not 0.5 <= (t_ns - t_last) / duration <= 2.0:
            return Expected(cam_from_world)
        return Expected(np.asarray(motion @ cam_from_world))

    @property
    def verification_due(self) -> bool:
        """Whether a tracked pose of the next frame is to be verified."""
        return self._tracked >= self._search_every

    def verify(self, tracked: PoseEstimate, searched: PoseEstimate) -> None:
        """What a search found of the last frame; where it differs, the next one is searched for."""
        if one_place(tracked, searched):
            self._tracked = 0
        else:
            self.forget()
            self._doubted = True

    def forget(self) -> None:
        """As if no frame had been localised."""
        self._last = self._step = self._given = None
        self._tracked = self.inliers = 0
        self._doubted = False

    def remember(
        self, t_ns: int, cam_from_world: Array | None, *, tracked: bool = False, inliers: int = 0
    ) -> None:
        """What became of the frame at a time; None when it was not localised."""
        if cam_from_world is None:
            self.forget()
            return
        self._step, self._doubted = None, False
        self._tracked = self._tracked + 1 if tracked else 0
        self.inliers = inliers
        if self._last is not None and 0 < t_ns - self._last[0] <= OLDEST_NS:
            motion = cam_from_world @ invert(self._last[1])
            self._step = (t_ns - self._last[0], motion)
        self._last = (t_ns, cam_from_world)

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        more = {"tracked": self._tracked, "inliers": self.inliers, "given": self._given}
        more["doubted"] = self._doubted
        return {"last": self._last, "step": self._step, **more}

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self._last, self._step = (_timed(recalled[name]) for name in ("last", "step"))
        self._tracked, self.inliers = int(recalled["tracked"]), int(recalled["inliers"])
        self._doubted = bool(recalled.get("doubted", False))  # of older recordings there is none
        given = recalled["given"]
        self._given = None
        if given is not None:
            t_ns, (cam_from_world, std_rad) = given
            pose = np.array(cam_from_world, np.float64).reshape(4, 4)
            self._given = (int(t_ns), Expected(pose, std_rad and float(std_rad)))


def one_place(one: PoseEstimate, other: PoseEstimate) -> bool:
    """Whether two estimates of a frame agree as surely as their covariances say."""
    ours, theirs = one.cam_from_world, other.cam_from_world
    if ours is None or theirs is None or one.covariance is None or other.covariance is None:
        return False
    covariance = one.covariance + other.covariance
    return normalised_error(ours, covariance, theirs) <= ONE_PLACE


def _timed(value: Any) -> tuple[int, Array] | None:
    """A time and a (4,4) matrix, or None."""
    if value is None:
        return None
    nanoseconds, matrix = value
    return int(nanoseconds), np.array(matrix, np.float64).reshape(4, 4)
