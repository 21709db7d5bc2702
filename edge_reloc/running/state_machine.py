"""Whether poses are to be used: states above the status of single frames.

    SEARCHING -> TRACKING <-> DEGRADED -> LOST -> TRACKING

Nothing here has a clock, a thread or a camera: events go in, a state comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..reasons import Reason
from ..structs import State
from .fix import Fix
from .pose_filter import PoseFilter

SECOND_NS = 1_000_000_000
PACE = 0.2  # weight of the last period in what is usual


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a state changes."""

    #: poses of independent frames that agree before one is believed
    confirm: int = 3
    #: frames in a row without a pose that is believed, until DEGRADED
    misses: int = 3
    #: good frames in a row from DEGRADED back to TRACKING
    recover: int = 3
    #: without a frame, until DEGRADED
    stale_s: float = 0.5
    #: without a pose that is believed, until LOST; also how far apart poses may agree
    lost_s: float = 1.0
    #: periods that this is at least, where frames come slowly
    lost_periods: float = 3.0


class StateMachine:
    """Events of one stream of frames in; state, reason and a count of jumps out.

    new_track: starts a filter at a pose. What it then agrees with is plausible motion.
    """

    def __init__(self, new_track: Callable[[Fix], PoseFilter], rules: Rules | None = None) -> None:
        self._new_track, self._rules = new_track, rules or Rules()
        self.state = State.SEARCHING
        #: why it is not TRACKING, or why the last pose is not to be used
        self.reason: Reason | None = Reason.STALE
        #: jumps that were believed
        self.reset_counter = 0
        #: what poses that are given out belong to; in LOST the last such
        self.track: PoseFilter | None = None
        self._candidate: PoseFilter | None = None
        self._agreeing = 0  # poses of the candidate
        self._missed = self._good = 0  # frames in a row
        self._frame_ns: int | None = None  # newest frame
        self._period_ns = 0.0  # between frames of late
        self._believed_ns: int | None = None  # newest pose that was believed

    @property
    def gives_poses(self) -> bool:
        """Whether poses are to be used at all."""
        return self.state in (State.TRACKING, State.DEGRADED)

    @property
    def doubts(self) -> bool:
        """Whether an independent look is worth more than a quick one."""
        return not self.gives_poses or self._candidate is not None

    def frame(
        self,
        t_ns: int,
        fix: Fix | None,
        reason: Reason | None = None,
        *,
        independent: bool = True,
    ) -> bool:
        """A frame and its pose, None without one; whether the pose is to be used.

        reason: why there is none, or why it is doubtful. independent: the pose does not begin
        with that of the frame before.
        """
        self._begin(t_ns)
        if fix is None:
            self._miss(t_ns, reason or Reason.STALE)
            return False
        if self.gives_poses and self.track is not None and self.track.add(fix):
            self._candidate = None
            self._believe(t_ns, reason)
            return True
        if not self._confirmed(fix, independent):
            self._miss(t_ns, Reason.JUMP if self.gives_poses else Reason.UNCONFIRMED)
            return False
        if self.track is not None and not self.track.agrees(fix):
            self.reset_counter += 1
        self.track, self._candidate = self._candidate, None
        self.state, self.reason = State.TRACKING, None
        self._believe(t_ns, reason)
        return True

    def silence(self, t_ns: int, reason: Reason = Reason.STALE) -> bool:
        """No frame has come until now; whether that changes the state or its reason."""
        before = self.state, self.reason
        last = self._frame_ns
        if last is None:
            self.reason = reason
        elif t_ns - last > max(self._rules.stale_s * SECOND_NS, 2.0 * self._period_ns):
            if self.state is State.TRACKING:
                self.state = State.DEGRADED
            self.reason, self._good = reason, 0
            self._lose(t_ns)
        return (self.state, self.reason) != before

    def _begin(self, t_ns: int) -> None:
        """A frame after too long a time, or from before its time, follows on nothing."""
        long = self._long_ns()
        last = t_ns if self._frame_ns is None else self._frame_ns
        self._period_ns += PACE * (min(abs(t_ns - last), long) - self._period_ns)
        set_back = t_ns < last - long  # what belongs to the time before tells nothing now
        self._frame_ns = t_ns if set_back else max(t_ns, last)
        if set_back:
            self.track = self._believed_ns = None
        if self._candidate is not None and abs(t_ns - self._candidate.t_ns) > long:
            self._candidate = None
        if self.gives_poses and abs(t_ns - last) > long:
            self.state, self.reason = State.LOST, Reason.STALE

    def _long_ns(self) -> float:
        """The time after which nothing follows on what was."""
        rules = self._rules
        return max(rules.lost_s * SECOND_NS, rules.lost_periods * self._period_ns)

    def _confirmed(self, fix: Fix, independent: bool) -> bool:
        """Whether as many poses agree with one another as it takes to believe them."""
        if self._candidate is not None and self._candidate.add(fix):
            self._agreeing += independent
        else:
            self._candidate, self._agreeing = self._new_track(fix), int(independent)
        return self._agreeing >= self._rules.confirm

    def _believe(self, t_ns: int, reason: Reason | None) -> None:
        """A pose that is used; reason: of doubt."""
        self._believed_ns = max(t_ns, self._believed_ns or t_ns)
        self._missed = 0
        self._good = 0 if reason else self._good + 1
        if reason is not None:
            self.state, self.reason = State.DEGRADED, reason
        elif self.state is State.TRACKING or self._good >= self._rules.recover:
            self.state, self.reason = State.TRACKING, None

    def _miss(self, t_ns: int, reason: Reason) -> None:
        self.reason, self._good = reason, 0
        self._missed += 1
        if self.state is State.TRACKING and self._missed >= self._rules.misses:
            self.state = State.DEGRADED
        self._lose(t_ns)

    def _lose(self, t_ns: int) -> None:
        """LOST when the last pose that was believed is too old."""
        believed = self._believed_ns
        if self.gives_poses and (believed is None or t_ns - believed > self._long_ns()):
            self.state = State.LOST

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        return {
            "state": self.state.value,
            "reason": None if self.reason is None else self.reason.value,
            "reset_counter": self.reset_counter,
            "track": None if self.track is None else self.track.recall(),
            "candidate": None if self._candidate is None else self._candidate.recall(),
            "counts": (self._agreeing, self._missed, self._good),
            "times_ns": (self._frame_ns, self._believed_ns),
            "period_ns": self._period_ns,
        }

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the events that were recalled. Raises ValueError, TypeError, KeyError."""
        reason = recalled["reason"]
        self.state, self.reason = State(recalled["state"]), reason and Reason(reason)
        self.reset_counter = int(recalled["reset_counter"])
        self.track = self._resumed(recalled["track"])
        self._candidate = self._resumed(recalled["candidate"])
        self._agreeing, self._missed, self._good = (int(n) for n in recalled["counts"])
        self._frame_ns, self._believed_ns = (
            None if t_ns is None else int(t_ns) for t_ns in recalled["times_ns"]
        )
        self._period_ns = float(recalled.get("period_ns", 0.0))  # older recordings have none

    def _resumed(self, recalled: Mapping[str, Any] | None) -> PoseFilter | None:
        if recalled is None:
            return None
        first = Fix(t_ns=0, cam_from_world=np.eye(4), covariance=np.eye(6))
        track = self._new_track(first)
        track.resume(recalled)
        return track
