"""A small filter of poses: where the camera is at any time, how fast it moves, how surely.

An error-state Kalman filter over poses with their covariances. The camera turns at a constant
rate about its own axes and flies straight on, both disturbed by white accelerations.

What consecutive frames get wrong together, above all errors of the map, cannot be averaged
away. A share of every measurement's variance is therefore one slowly changing error that they
have in common; the filter estimates it with the pose, and its covariance stays true.

A camera that is seen to stand still (`stillness`) was hardly disturbed since the measurement
before, its rates are nearly zero, and what its measurements share stays as it is. That is
known of the past alone: predictions always allow for a camera that moves off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, inf, sqrt
from typing import Any

import numpy as np

from ..arrays import F64
from ..geometry.rigid import compose, hat, so3_exp
from .fix import JITTER, Fix, difference, root
from .stillness import last_ones, stands_still

HISTORY = 64  # measurements that are kept, for those that come late

# Of the error: rotation and position, their rates, what measurements share
POSE, RATE, SHARED = slice(0, 6), slice(6, 12), slice(12, 18)
TURN, PLACE, TURNING, MOVING = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How cameras move, and how their poses err. Lengths are metres of the map."""

    #: white angular acceleration, rad/s^2 per root of Hz
    turn_noise: float = 2.0
    #: white acceleration, m/s^2 per root of Hz
    place_noise: float = 1.0
    #: standard deviation of a rate of which nothing is known, rad/s
    first_turning: float = 2.0
    #: and of a velocity, m/s
    first_moving: float = 5.0
    #: share of a measurement's variance that the next one has, too
    shared: float = 0.8
    #: after which that error is mostly another one
    shared_s: float = 1.0
    #: of a camera that was seen to stand still: share of the accelerations,
    still: float = 0.1
    #: standard deviation of its rate, rad/s
    still_turning: float = 0.03
    #: and of its velocity, m/s
    still_moving: float = 0.02
    #: squared innovation in units of its covariance beyond which a measurement is refused;
    #: chance exceeds it once in two million, errors with heavier tails sometimes
    gate: float = 40.0

    def scaled(self, metre: float) -> Motion:
        """For maps in which a metre has this many units."""
        return replace(
            self,
            place_noise=self.place_noise * metre,
            first_moving=self.first_moving * metre,
            still_moving=self.still_moving * metre,
        )

    @property
    def at_rest(self) -> Motion:
        """Of a camera that stands still, which is known already."""
        return replace(
            self,
            turn_noise=self.turn_noise * self.still,
            place_noise=self.place_noise * self.still,
            shared_s=inf,
            gate=inf,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Belief:
    t_ns: int
    cam_from_world: F64
    #: (6,) rad/s and units/s: cam_from_world moves on by Exp(rate dt) from the left
    rate: F64
    #: (6,) what measurements share, in standard deviations of each
    shared: F64
    #: (18,18) of the errors of all that
    covariance: F64


class PoseFilter:
    """Starts at a first measurement; `add` takes further ones in any order of time."""

    def __init__(self, first: Fix, motion: Motion | None = None) -> None:
        self._motion = motion = motion or Motion()
        covariance = np.zeros((18, 18))
        covariance[POSE, POSE] = first.covariance
        covariance[TURNING, TURNING] = np.eye(3) * motion.first_turning**2
        covariance[MOVING, MOVING] = np.eye(3) * motion.first_moving**2
        covariance[SHARED, SHARED] = np.eye(6)
        covariance[POSE, SHARED] = sqrt(motion.shared) * root(first.covariance)
        covariance[SHARED, POSE] = covariance[POSE, SHARED].T
        start = _Belief(
            t_ns=first.t_ns,
            cam_from_world=first.cam_from_world,
            rate=np.zeros(6),
            shared=np.zeros(6),
            covariance=covariance,
        )
        self._steps: list[tuple[Fix, _Belief]] = [(first, start)]

    @property
    def t_ns(self) -> int:
        """Of the newest measurement."""
        return self._steps[-1][1].t_ns

    def at(self, t_ns: int) -> Fix:
        """The pose at a time, in the past as was known then; not before what is kept."""
        known = next((b for _, b in reversed(self._steps) if b.t_ns <= t_ns), self._steps[0][1])
        ahead = self._ahead(known, max(t_ns, known.t_ns), self._motion)
        return Fix(
            t_ns=ahead.t_ns,
            cam_from_world=ahead.cam_from_world,
            covariance=ahead.covariance[POSE, POSE],
        )

    def agrees(self, fix: Fix) -> bool:
        """Whether a measurement lies where this one is expected, as surely as both are known."""
        known = next((b for _, b in reversed(self._steps) if b.t_ns <= fix.t_ns), None)
        return known is not None and self._updated(known, fix, self._motion) is not None

    def add(self, fix: Fix) -> bool:
        """Take a measurement in where it belongs in time; False where it was refused."""
        later: list[Fix] = []
        while self._steps and self._steps[-1][1].t_ns > fix.t_ns:
            later.append(self._steps.pop()[0])
        taken = bool(self._steps) and self._take(fix)
        for measured in reversed(later):
            self._take(measured)
        del self._steps[:-HISTORY]
        return taken

    def _take(self, fix: Fix) -> bool:
        if not self._steps:  # older than all: those after it start as they did
            self._steps = PoseFilter(fix, self._motion)._steps
            return True
        before, motion = self._steps[-1][1], self._motion
        updated = self._updated(before, fix, motion)
        if updated is None:
            return False
        last = last_ones([*(known for known, _ in self._steps), fix])
        if stands_still(last, 1.0 - motion.shared):
            # Covariances that differ would tell the errors of measurements that are alike.
            usual = replace(fix, covariance=np.mean([f.covariance for f in last], axis=0))
            rested = self._updated(before, usual, motion.at_rest)
            updated = updated if rested is None else self._rested(rested)
        self._steps.append((fix, updated))
        return True

    def _ahead(self, belief: _Belief, t_ns: int, motion: Motion) -> _Belief:
        """The belief at a later time, by constant motion."""
        dt = (t_ns - belief.t_ns) * 1e-9
        turning, moving = belief.rate[:3], belief.rate[3:]
        turn, carried = so3_exp(turning * dt), np.eye(3) + 0.5 * hat(turning * dt)
        after = turn @ moving
        step = np.eye(18)
        step[TURN, TURN] = step[PLACE, PLACE] = step[MOVING, MOVING] = turn
        step[TURN, TURNING] = carried * dt
        step[PLACE, TURN] = turn @ hat(moving) * dt
        step[PLACE, MOVING] = turn * dt
        step[MOVING, TURNING] = -hat(after) @ carried * dt
        kept = exp(-dt / motion.shared_s)
        step[SHARED, SHARED] *= kept
        covariance = step @ belief.covariance @ step.T
        noise = np.repeat([motion.turn_noise**2, motion.place_noise**2], 3)
        covariance[POSE, POSE] += np.diag(noise * dt**3 / 3)
        covariance[POSE, RATE] += np.diag(noise * dt**2 / 2)
        covariance[RATE, POSE] += np.diag(noise * dt**2 / 2)
        covariance[RATE, RATE] += np.diag(noise * dt)
        covariance[SHARED, SHARED] += np.eye(6) * (1.0 - kept * kept)
        return _Belief(
            t_ns=t_ns,
            cam_from_world=compose(turn, after * dt) @ belief.cam_from_world,
            rate=np.concatenate([turning, after]),
            shared=kept * belief.shared,
            covariance=covariance,
        )

    def _updated(self, belief: _Belief, fix: Fix, motion: Motion) -> _Belief | None:
        """The belief with a measurement that is not older; None where the gate refuses it."""
        ahead = self._ahead(belief, fix.t_ns, motion)
        shared = sqrt(motion.shared) * root(fix.covariance)
        away = difference(fix.cam_from_world, ahead.cam_from_world) + shared @ ahead.shared
        seen = np.zeros((6, 18))  # how the innovation follows from the errors
        seen[:, POSE], seen[:, SHARED] = np.eye(6), -shared
        own = (1.0 - motion.shared) * fix.covariance
        return _measured(ahead, away, seen, own, motion.gate)

    def _rested(self, belief: _Belief) -> _Belief:
        """The belief when its rates are known to be nearly zero."""
        seen = np.zeros((6, 18))
        seen[:, RATE] = np.eye(6)
        std = np.repeat([self._motion.still_turning, self._motion.still_moving], 3)
        rested = _measured(belief, -belief.rate, seen, np.diag(std * std), inf)
        assert rested is not None
        return rested

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        return {
            "steps": [
                (tuple(vars(fix).values()), tuple(vars(belief).values()))
                for fix, belief in self._steps
            ]
        }

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the measurements that were recalled. Raises ValueError, TypeError."""
        self._steps = [
            (_fix(*fix), _belief(*belief)) for fix, belief in recalled["steps"][-HISTORY:]
        ]
        if not self._steps:
            raise ValueError("a filter without a measurement")


def _measured(belief: _Belief, away: F64, seen: F64, own: F64, gate: float) -> _Belief | None:
    """The belief corrected by an innovation (6,), None where that is beyond the gate.

    seen (6,18): how it follows from the errors. own (6,6): covariance of the rest of it.
    """
    expected = seen @ belief.covariance @ seen.T + own + JITTER * np.eye(6)
    if away @ np.linalg.solve(expected, away) > gate:
        return None
    gain = np.linalg.solve(expected, seen @ belief.covariance).T
    change = gain @ away
    rest = np.eye(18) - gain @ seen
    return _Belief(
        t_ns=belief.t_ns,
        cam_from_world=compose(so3_exp(change[TURN]), change[PLACE]) @ belief.cam_from_world,
        rate=belief.rate + change[RATE],
        shared=belief.shared + change[SHARED],
        covariance=rest @ belief.covariance @ rest.T + gain @ own @ gain.T,
    )


def _fix(t_ns: Any, cam_from_world: Any, covariance: Any) -> Fix:
    return Fix(
        t_ns=int(t_ns),
        cam_from_world=_array(cam_from_world, 4, 4),
        covariance=_array(covariance, 6, 6),
    )


def _belief(t_ns: Any, cam_from_world: Any, rate: Any, shared: Any, covariance: Any) -> _Belief:
    return _Belief(
        t_ns=int(t_ns),
        cam_from_world=_array(cam_from_world, 4, 4),
        rate=_array(rate, 6),
        shared=_array(shared, 6),
        covariance=_array(covariance, 18, 18),
    )


def _array(values: Any, *shape: int) -> F64:
    return np.array(values, np.float64).reshape(shape)
