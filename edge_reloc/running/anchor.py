"""Where a headset's own tracking space lies in the map: drift removed, without visible jumps.

A headset tracks itself smoothly and at once in a space of its own (`local`), which drifts. We know
the head in the map, later, more rarely and with noise. What the application keeps is
`map_from_local`: measured with both poses of one and the same time, that of the capture, and used
with the headset's prediction for the time of display. So our latency and rate are never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, radians

import numpy as np

from ..arrays import F64
from ..geometry.frames import Placed
from ..geometry.rigid import compose, hat, invert, rotation_vector, so3_exp

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How headsets drift, how our poses err, and what an eye may see."""

    #: of local tracking, metres and radians per root of a second
    drift_m: float = 0.01
    drift_rad: float = radians(0.1)
    #: share of a pose's variance that the next pose has, too, and how long
    shared: float = 0.8
    shared_s: float = 1.0
    #: squared innovation in units of its covariance beyond which a pose is refused
    gate: float = 40.0
    #: refused poses for so long: it is local tracking that jumped
    restart_s: float = 1.0
    #: what is shown goes to what is known in about this time
    settle_s: float = 0.5
    #: and no faster than this, of things beside the head, which then turn about it
    most_m_s: float = 0.05
    most_rad_s: float = radians(1.0)


class Anchor:
    """`map_from_local`, as it is known and as it is to be shown.

    Poses of head and spaces may have any axes, as long as both have the same: OpenXR's, of
    `--output shm:NAME?axes=openxr`. The error of what is known is [d, w]: turned by Exp(w) about
    the head, then moved by d; so uncertainty of the rotation moves nothing that is near.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._known: F64 | None = None
        self._shown = np.eye(4)
        self._head = np.zeros(3)  # in the map, as known
        self._covariance = np.zeros((6, 6))
        self._t_ns = self._shown_ns = 0
        self._refused_ns: int | None = None
        self._resets = 0
        #: poses that did not fit
        self.refused = 0
        #: how often it began anew, so that what was shown jumped
        self.restarts = 0

    def measure(
        self, t_ns: int, map_from_head: Placed, local_from_head: F64, reset_counter: int = 0
    ) -> bool:
        """Take a pose in; whether it was believed.

        t_ns: of the capture. map_from_head: ours, with its covariance. local_from_head (4,4): the
        headset's, of the same time. reset_counter: ours; when it changes, what is shown jumps.
        """
        measured = map_from_head.world_from_body @ invert(local_from_head)
        if self._known is None or reset_counter != self._resets:
            self._restart(t_ns, measured, map_from_head, reset_counter)
            return True
        seconds = (t_ns - self._t_ns) / SECOND_NS
        if seconds <= 0:
            return False
        self._drift_until(t_ns, self._known @ local_from_head)
        innovation = _difference(self._known, measured, local_from_head)
        total = self._covariance + map_from_head.covariance
        if innovation @ np.linalg.solve(total, innovation) > self._rules.gate:
            return self._refuse(t_ns, measured, map_from_head)
        # Poses that err alike are worth fewer independent ones.
        alike = 1.0 + 2.0 * self._rules.shared / (exp(seconds / self._rules.shared_s) - 1.0)
        total = self._covariance + alike * map_from_head.covariance
        gain = np.linalg.solve(total, self._covariance).T
        self._known = _corrected(self._known, gain @ innovation, self._head)
        self._head = (self._known @ local_from_head)[:3, 3]
        self._covariance = (np.eye(6) - gain) @ self._covariance
        self._refused_ns = None
        return True

    def at(self, t_ns: int, local_from_head: F64) -> F64 | None:
        """`map_from_local` (4,4) to show; None before the first pose.

        t_ns: of display, as a rule later each time. local_from_head (4,4): predicted for it;
        `at(t, local_from_head) @ local_from_head` is the head in the map.
        """
        if self._known is None:
            return None
        seconds = (t_ns - self._shown_ns) / SECOND_NS
        if seconds > 0:
            rules = self._rules
            missing = _difference(self._shown, self._known, local_from_head)
            step = missing * (1.0 - exp(-seconds / rules.settle_s))
            step[:3] *= _within(step[:3], rules.most_m_s * seconds)
            step[3:] *= _within(step[3:], rules.most_rad_s * seconds)
            head = (self._shown @ local_from_head)[:3, 3]
            self._shown = _corrected(self._shown, step, head)
            self._shown_ns = t_ns
        return self._shown

    @property
    def known(self) -> F64:
        """(4,4), best known, which may jump; the identity before the first pose."""
        return np.eye(4) if self._known is None else self._known

    def covariance(self, t_ns: int) -> F64:
        """(6,6) of [x y z, rotation about the map's axes] of the head at a time, as known."""
        return self._covariance + self._drift(max(0.0, (t_ns - self._t_ns) / SECOND_NS))

    def move_local(self, previous_from_new: F64) -> None:
        """The headset put its space elsewhere (4,4): nothing that is shown moves.

        OpenXR: `poseInPreviousSpace` of XrEventDataReferenceSpaceChangePending, at its changeTime.
        """
        if self._known is not None:
            self._known = self._known @ previous_from_new
            self._shown = self._shown @ previous_from_new

    def _restart(self, t_ns: int, measured: F64, head: Placed, reset_counter: int) -> None:
        self.restarts += self._known is not None
        self._known = self._shown = measured
        self._covariance, self._head = head.covariance.copy(), head.xyz.copy()
        self._t_ns, self._resets = t_ns, reset_counter
        self._shown_ns = max(t_ns, self._shown_ns)
        self._refused_ns = None

    def _refuse(self, t_ns: int, measured: F64, head: Placed) -> bool:
        self.refused += 1
        self._refused_ns = t_ns if self._refused_ns is None else self._refused_ns
        if t_ns - self._refused_ns < self._rules.restart_s * SECOND_NS:
            return False
        self._restart(t_ns, measured, head, self._resets)
        return True

    def _drift_until(self, t_ns: int, map_from_head: F64) -> None:
        """Covariance at a later time, about where the head is then."""
        moved = map_from_head[:3, 3] - self._head
        about = np.eye(6)
        about[:3, 3:] = -hat(moved)
        seconds = (t_ns - self._t_ns) / SECOND_NS
        self._covariance = about @ self._covariance @ about.T + self._drift(seconds)
        self._head, self._t_ns = self._head + moved, t_ns

    def _drift(self, seconds: float) -> F64:
        rules = self._rules
        return np.diag([rules.drift_m**2 * seconds] * 3 + [rules.drift_rad**2 * seconds] * 3)


def _difference(a_from_local: F64, b_from_local: F64, local_from_head: F64) -> F64:
    """[d, w] (6,) that make a into b, about the head of a."""
    a, b = a_from_local @ local_from_head, b_from_local @ local_from_head
    turned = rotation_vector(b[:3, :3] @ a[:3, :3].T)
    return np.concatenate([b[:3, 3] - a[:3, 3], turned])


def _corrected(map_from_local: F64, delta: F64, head: F64) -> F64:
    """Turned by delta[3:] about the head (3,), then moved by delta[:3]."""
    rotation = so3_exp(delta[3:])
    return compose(rotation, head + delta[:3] - rotation @ head) @ map_from_local


def _within(vector: F64, most: float) -> float:
    """What a vector is to be multiplied by to be no longer."""
    length = float(np.linalg.norm(vector))
    return 1.0 if length <= most else most / length
