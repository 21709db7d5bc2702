"""Where the camera should be now, from where it was in the last frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..geometry.rigid import Array, invert

OLDEST_NS = 500_000_000  # a pose older than this predicts nothing


class Tracker:
    """Constant motion through the last two poses; the last pose while there is one.

    Knows only poses of frames that were localised, and forgets them when one is not.
    """

    def __init__(self) -> None:
        self._last: tuple[int, Array] | None = None
        self._step: tuple[int, Array] | None = None  # duration, now_from_before

    def predict(self, t_ns: int) -> Array | None:
        """cam_from_world (4,4) at a time, None when nothing recent is known."""
        if self._last is None or not 0 < t_ns - self._last[0] <= OLDEST_NS:
            return None
        t_last, cam_from_world = self._last
        if self._step is None:
            return cam_from_world
        duration, motion = self._step
        # Frames come at an even pace: the same motion again, when the pace was kept.
        if not 0.5 <= (t_ns - t_last) / duration <= 2.0:
            return cam_from_world
        return np.asarray(motion @ cam_from_world)

    def forget(self) -> None:
        """As if no frame had been localised."""
        self._last = self._step = None

    def remember(self, t_ns: int, cam_from_world: Array | None) -> None:
        """What became of the frame at a time; None when it was not localised."""
        if cam_from_world is None:
            self.forget()
            return
        self._step = None
        if self._last is not None and 0 < t_ns - self._last[0] <= OLDEST_NS:
            motion = cam_from_world @ invert(self._last[1])
            self._step = (t_ns - self._last[0], motion)
        self._last = (t_ns, cam_from_world)

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        return {"last": self._last, "step": self._step}

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self._last, self._step = (_timed(recalled[name]) for name in ("last", "step"))


def _timed(value: Any) -> tuple[int, Array] | None:
    """A time and a (4,4) matrix, or None."""
    if value is None:
        return None
    nanoseconds, matrix = value
    return int(nanoseconds), np.array(matrix, np.float64).reshape(4, 4)
