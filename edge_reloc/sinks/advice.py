"""What an autopilot or IMU knows of frames to come, told by one thread and asked by another."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

import numpy as np

from ..arrays import F64
from ..structs import Frame

SAMPLES = 256  # 5 s of 50 Hz
BETWEEN_NS = 200_000_000  # of two samples that are interpolated
BEYOND_NS = 50_000_000  # after the newest sample, which counts as it is


class Advice:
    """Which way is down, by time. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down: deque[tuple[int, F64]] = deque(maxlen=SAMPLES)

    def tell_down(self, t_ns: int, down: F64) -> None:
        """Unit vector (3,) that points down in the body (forward, left, up) at a time."""
        with self._lock:
            if self._down and t_ns <= self._down[-1][0]:  # late, or a clock that was put back
                if t_ns > self._down[-1][0] - 10 * BETWEEN_NS:
                    return
                self._down.clear()
            self._down.append((t_ns, down))

    def down(self, t_ns: int) -> F64 | None:
        """The same at any time that samples surround, or that the newest is near to."""
        with self._lock:
            samples = list(self._down)
        after = next((i for i, (at_ns, _) in enumerate(samples) if at_ns >= t_ns), len(samples))
        if after == len(samples):
            if not samples or t_ns - samples[-1][0] > BEYOND_NS:
                return None
            return samples[-1][1]
        (next_ns, next_down) = samples[after]
        if next_ns == t_ns:
            return next_down
        if after == 0 or next_ns - samples[after - 1][0] > BETWEEN_NS:
            return None
        (last_ns, last_down) = samples[after - 1]
        share = (t_ns - last_ns) / (next_ns - last_ns)
        between = (1.0 - share) * last_down + share * next_down
        return np.asarray(between / np.linalg.norm(between))

    def frame(self, frame: Frame, body_from_cam: F64) -> Frame:
        """The frame, with `down` in its camera's axes where it is known and not there yet."""
        down = None if frame.down is not None else self.down(frame.t_ns)
        if down is None:
            return frame
        return replace(frame, down=body_from_cam[:3, :3].T @ down)
