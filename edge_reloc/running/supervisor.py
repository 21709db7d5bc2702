"""Watches over a stream of poses: says which are to be used, and where the camera is between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..arrays import F32, F64
from ..bundle.manifest import World
from ..geometry.rigid import hat, invert
from ..reasons import Fault, Reason
from ..structs import Frame, PoseEstimate, State, Status
from .fix import Fix
from .pose_filter import Motion, PoseFilter
from .state_machine import SECOND_NS, Rules, StateMachine
from .unclear import explained

# What odometry gets wrong from one frame to the next, at most a second later.
ODOMETRY_RAD, ODOMETRY_M = 0.01, 0.03
LIKELY_MAP_M = 10.0  # across, where a map does not know its metre

REASONS = {
    Status.DEGRADED: Reason.UNCERTAIN,
    Status.NO_FEATURES: Reason.FEW_FEATURES,
    Status.NO_MATCHES: Reason.OUTSIDE_MAP,
    Status.NO_POSE: Reason.FEW_MATCHES,
    Status.IMPLAUSIBLE: Reason.IMPLAUSIBLE,
    Status.NOT_LOADED: Reason.NOT_LOADED,
}
WORDS = {
    Reason.JUMP: "the pose is far from where the last ones lead, and not yet confirmed",
    Reason.UNCONFIRMED: "the pose is not yet confirmed by independent frames",
}


class Steers(Protocol):
    """A localiser that takes advice on the next frame."""

    def predict(self, t_ns: int, cam_from_world: F64, covariance: F64) -> None:
        """Where the frame at a time should be."""

    def search_next(self) -> None:
        """It had better be searched for in the whole map."""


class Supervisor:
    """State of every estimate, and poses at any time.

    metre: units of the map. filtered: poses of frames are the filter's instead of the
    measured ones. localizer: advised on frames to come.
    """

    def __init__(
        self,
        *,
        metre: float = 1.0,
        rules: Rules | None = None,
        filtered: bool = False,
        localizer: Steers | None = None,
    ) -> None:
        motion = Motion().scaled(metre)
        self._rules = rules or Rules()
        self._machine = StateMachine(lambda fix: PoseFilter(fix, motion), self._rules)
        self._filtered, self._localizer = filtered, localizer
        self._odometry: tuple[int, F64] | None = None  # of the last frame whose pose was used
        std = np.repeat([ODOMETRY_RAD, ODOMETRY_M * metre], 3)
        self._odometry_covariance = np.diag(std**2)
        self._last = PoseEstimate(t_ns=0, status=Status.NO_FEATURES)

    @property
    def state(self) -> State:
        """Of the stream."""
        return self._machine.state

    def before(self, t_ns: int, odom_from_cam: F64 | None = None) -> None:
        """A frame of this time is about to be localised; odom_from_cam: `Frame.odometry`."""
        fix = None
        if not self._machine.doubts:
            fix = self._carried(t_ns, odom_from_cam) or self.expected(t_ns)
        if fix is not None and self._localizer is not None:
            self._localizer.predict(t_ns, fix.cam_from_world, fix.covariance)

    def judge(self, frame: Frame, estimate: PoseEstimate) -> PoseEstimate:
        """The estimate with the state, and without its pose where that is not to be used."""
        machine, fix = self._machine, _fix_of(frame, estimate)
        why = _reason_of(frame, estimate)
        used = machine.frame(estimate.t_ns, fix, why, independent=not estimate.tracked)
        if machine.doubts and self._localizer is not None:
            self._localizer.search_next()
        if not used:
            withheld = None if fix is None or machine.reason is None else WORDS[machine.reason]
            estimate = replace(estimate.withheld(), reason=estimate.reason or withheld)
        elif self._filtered:
            estimate = self._at_filter(estimate)
        if used and (odometry := frame.odometry) is not None:
            self._odometry = estimate.t_ns, odometry
        self._last = self._told(estimate)
        return self._last

    def _carried(self, t_ns: int, odom_from_cam: F64 | None) -> Fix | None:
        """The last pose that was used, moved as odometry says; None where it says nothing."""
        track = self._machine.track
        if odom_from_cam is None or self._odometry is None or track is None:
            return None
        then_ns, odom_from_then = self._odometry
        if not 0 < t_ns - then_ns <= self._rules.lost_s * SECOND_NS:
            return None
        then, cam_from_then = track.at(then_ns), invert(odom_from_cam) @ odom_from_then
        moved = np.zeros((6, 6))  # adjoint of the motion
        moved[:3, :3] = moved[3:, 3:] = cam_from_then[:3, :3]
        moved[3:, :3] = hat(cam_from_then[:3, 3]) @ cam_from_then[:3, :3]
        return Fix(
            t_ns=t_ns,
            cam_from_world=cam_from_then @ then.cam_from_world,
            covariance=moved @ then.covariance @ moved.T + self._odometry_covariance,
        )

    def silence(self, t_ns: int, fault: Fault | None = None) -> PoseEstimate | None:
        """An estimate without a frame, where the lack of one changes the state."""
        if not self._machine.silence(t_ns, Reason.STALE if fault is None else fault.reason):
            return None
        text = "no frame arrives" if fault is None else fault.text
        return self._told(self._without_frame(t_ns, Status.NO_FEATURES, text))

    def expected(self, t_ns: int) -> Fix | None:
        """The pose at a time by constant motion; None where none is to be used."""
        track = self._machine.track
        if track is None or not self._machine.gives_poses:
            return None
        return track.at(t_ns) if t_ns - track.t_ns <= self._rules.lost_s * SECOND_NS else None

    def propagated(self, t_ns: int) -> PoseEstimate | None:
        """The same as an estimate."""
        if self.expected(t_ns) is None:
            return None
        estimate = self._without_frame(t_ns, Status.OK, None)
        return self._told(replace(self._at_filter(estimate), propagated=True))

    def _at_filter(self, estimate: PoseEstimate) -> PoseEstimate:
        """With the filter's pose at its time; protection levels are of measured ones alone."""
        assert self._machine.track is not None
        fix = self._machine.track.at(estimate.t_ns)
        return replace(
            estimate,
            cam_from_world=fix.cam_from_world,
            covariance=fix.covariance,
            hpl_m=None,
            vpl_m=None,
            ypl_deg=None,
        )

    def _without_frame(self, t_ns: int, status: Status, reason: str | None) -> PoseEstimate:
        last = self._last
        return PoseEstimate(
            t_ns=t_ns, status=status, reason=reason, index=last.index, name=last.name
        )

    def _told(self, estimate: PoseEstimate) -> PoseEstimate:
        machine = self._machine
        return replace(
            estimate,
            state=machine.state,
            state_reason=machine.reason,
            reset_counter=machine.reset_counter,
        )

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        machine = self._machine.recall()
        return {
            "machine": machine,
            "index": self._last.index,
            "name": self._last.name,
            "odometry": self._odometry,
        }

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self._machine.resume(recalled["machine"])
        self._last = replace(self._last, index=int(recalled["index"]), name=str(recalled["name"]))
        odometry = recalled.get("odometry")  # of older recordings there is none
        self._odometry = None
        if odometry is not None:
            pose = np.array(odometry[1], np.float64).reshape(4, 4)
            self._odometry = int(odometry[0]), pose


def _fix_of(frame: Frame, estimate: PoseEstimate) -> Fix | None:
    """The pose as a measurement; the same pixels again measure nothing."""
    pose, covariance = estimate.cam_from_world, estimate.covariance
    frozen = frame.fault is not None and frame.fault.reason is Reason.FROZEN
    if pose is None or covariance is None or frozen:
        return None
    return Fix(t_ns=estimate.t_ns, cam_from_world=pose, covariance=covariance)


def _reason_of(frame: Frame, estimate: PoseEstimate) -> Reason | None:
    """Why there is no pose, or why it is doubtful; what the pixels show explains it best."""
    frozen = frame.fault is not None and frame.fault.reason is Reason.FROZEN
    if estimate.status is Status.OK and not frozen:
        return None
    if frame.fault is not None:
        return frame.fault.reason
    if estimate.cam_from_world is None:
        return explained(frame.image) or REASONS[estimate.status]
    return REASONS[estimate.status]


def metre_of(world: World, xyz: F32) -> float:
    """Units of a map that a metre has; a guess from its size where the map does not know.

    xyz (N,3): points of it.
    """
    if world.metric or len(xyz) == 0:
        return 1.0
    low, high = np.percentile(xyz, (10, 90), axis=0)
    return float(np.linalg.norm(high - low)) / LIKELY_MAP_M
