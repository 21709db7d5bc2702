"""What an autopilot knows of frames to come, told by one thread and asked by another."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

import numpy as np

from ..arrays import F64
from ..geometry.rigid import FARTHEST, compose, rotation_between
from ..structs import Frame

SAMPLES = 256  # 5 s of 50 Hz
BETWEEN_NS = 200_000_000  # of two samples that are interpolated
BEYOND_NS = 50_000_000  # after the newest sample, which counts as it is
PUT_BACK_NS = 2_000_000_000  # older than the newest by this: the clock was put back


class Samples:
    """Values by time, in its order."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, F64]] = deque(maxlen=SAMPLES)

    def add(self, t_ns: int, value: F64) -> None:
        """One more; a late one is left out."""
        newest_ns = self._samples[-1][0] if self._samples else t_ns - 1
        if t_ns <= newest_ns - PUT_BACK_NS:
            self._samples.clear()
        elif t_ns <= newest_ns:
            return
        self._samples.append((t_ns, value))

    def around(self, t_ns: int) -> tuple[F64, F64, float] | None:
        """What was before and after a time, and how far it lies between them, 0 to 1.

        None where they are too far apart, or the newest too old.
        """
        before = None
        for sample in self._samples:
            if sample[0] < t_ns:
                before = sample
                continue
            if sample[0] == t_ns:
                return sample[1], sample[1], 0.0
            if before is None or sample[0] - before[0] > BETWEEN_NS:
                return None
            return before[1], sample[1], (t_ns - before[0]) / (sample[0] - before[0])
        if before is None or t_ns - before[0] > BEYOND_NS:
            return None
        return before[1], before[1], 0.0


class Advice:
    """How a body turns and moves in a level frame that may drift. Thread-safe.

    The body: x forward, y left, z up. The frame `odom`: z up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rotations, self._places = Samples(), Samples()

    def tell_rotation(self, t_ns: int, odom_from_body: F64) -> None:
        """(3,3) of the body at a time."""
        with self._lock:
            self._rotations.add(t_ns, odom_from_body)

    def tell_place(self, t_ns: int, xyz: F64) -> None:
        """(3,) of the body at a time, metres; what is no place is left out."""
        if not (np.abs(xyz) <= FARTHEST).all():  # nor is nan, by which PX4 says that it has none
            return
        with self._lock:
            self._places.add(t_ns, xyz)

    def rotation(self, t_ns: int) -> F64 | None:
        """(3,3) at any time that samples surround, or that the newest is near to."""
        with self._lock:
            found = self._rotations.around(t_ns)
        if found is None:
            return None
        before, after, share = found
        return rotation_between(before, after, share)

    def place(self, t_ns: int) -> F64 | None:
        """(3,) likewise."""
        with self._lock:
            found = self._places.around(t_ns)
        return None if found is None else found[0] + found[2] * (found[1] - found[0])

    def frame(self, frame: Frame, body_from_cam: F64) -> Frame:
        """The frame with `down` and `odom_from_cam`, where they are known and not there yet."""
        rotation, place = self.rotation(frame.t_ns), self.place(frame.t_ns)
        if rotation is None:
            return frame
        odom_from_cam = frame.odom_from_cam
        if odom_from_cam is None and place is not None:
            odom_from_cam = compose(rotation, place) @ body_from_cam
        down = frame.down
        if down is None:
            down = body_from_cam[:3, :3].T @ -rotation[2]
        return replace(frame, down=down, odom_from_cam=odom_from_cam)
