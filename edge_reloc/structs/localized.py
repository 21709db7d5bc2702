"""What `localize` returns, and the buffers of the frame at hand behind it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ..arrays import F64, I32
from ..errors import StaleViewError
from .buffers import Candidates, Correspondences, Features
from .pose_estimate import PoseEstimate, Status


class Clock:
    """Wall time between laps, milliseconds, added to those before."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps = dict(laps or {})
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        """Since the last lap, for a stage."""
        now = time.perf_counter_ns()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1e-6
        self._last = now


class Work:
    """The buffers of the frame at hand; each of them belongs to somebody else."""

    def __init__(self, features: Features, candidates: Candidates, matches: Correspondences):
        self.features, self.candidates, self.matches = features, candidates, matches
        #: those that no pose has chosen, where they are others; None where there are none
        self.unguided: Correspondences | None = None
        self.clock = Clock()
        #: frames so far
        self.number = 0

    def begin(self, features: Features, laps: dict[str, float]) -> None:
        """The next frame, of which features were found."""
        self.features, self.clock = features, Clock(laps)
        self.candidates.n = self.matches.n = 0
        self.unguided = None
        self.number += 1


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Localization:
    """What `localize` returns: the estimate, and a look at how it came about.

    features, candidates and matches are read-only views of the localiser's own buffers, valid
    until its next frame; after that they raise StaleViewError. Copy what you keep.
    """

    #: pose, covariance, status, counts and times; its own arrays, yours to keep
    estimate: PoseEstimate
    #: keypoints that the method named by numbers, such as landmarks: the best ones
    _named: int = field(default=0, repr=False)
    _work: Work | None = field(default=None, repr=False)
    _number: int = field(default=0, repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is a pose that passed the gate and keeps to the alert limit."""
        return self.estimate.status is Status.OK

    @property
    def status(self) -> Status:
        """OK, or what was missing."""
        return self.estimate.status

    @property
    def reason(self) -> str | None:
        """None when OK, otherwise one line for a person."""
        return self.estimate.reason

    @property
    def cam_from_world(self) -> F64 | None:
        """(4,4), world points to camera points; None without a pose."""
        return self.estimate.cam_from_world

    @property
    def covariance(self) -> F64 | None:
        """(6,6) of [rotation rad, translation map units]; None without a pose."""
        return self.estimate.covariance

    @property
    def inliers(self) -> int:
        """Matches that agree with the pose."""
        return self.estimate.inliers

    @property
    def features(self) -> Features:
        """Keypoints and descriptors of the frame."""
        return _view(self._fresh().features, whole=("embedding", "place"))

    @property
    def candidates(self) -> Candidates:
        """Map points that were matched with it; empty where the frame was tracked."""
        return _view(self._fresh().candidates, whole=("query_group",))

    @property
    def matches(self) -> Correspondences:
        """2D-3D matches; `estimate.inlier_index` are the rows that agree."""
        return _view(self._fresh().matches)

    @property
    def keypoint_labels(self) -> I32 | None:
        """(n,) number of what each keypoint shows, below 1 for nothing; None where the method
        names nothing, or did not look.
        """
        work = self._fresh()
        if not self._named or work.candidates.n == 0:
            return None
        return self.candidates.query_group[: min(work.features.n, self._named)]

    def _fresh(self) -> Work:
        if self._work is None or self._work.number != self._number:
            raise StaleViewError(
                "features, candidates and matches are those of the last frame alone, and "
                "another one was localised since; copy what you need before"
            )
        return self._work


T = TypeVar("T", Features, Candidates, Correspondences)


def _view(struct: T, whole: tuple[str, ...] = ()) -> T:
    """The valid rows of a struct, read-only; whole: arrays with rows of their own."""
    view = copy.copy(struct)
    for name, array in vars(struct).items():
        if isinstance(array, np.ndarray):
            rows = (array if name in whole else array[: struct.n]).view()
            rows.flags.writeable = False
            setattr(view, name, rows)
    return view
