"""Times of ROS and times of ours."""

from __future__ import annotations

import time

OTHER_TIMES_NS = 10_000_000_000  # a stamp so far from its arrival is of a bag or a simulator
TRIES = 9


class Stamps:
    """Stamps (nanoseconds of ROS, as a rule of the system's clock) and CLOCK_MONOTONIC, ours.

    The two differ by one offset, measured once, so that a stamp that goes in comes out to the
    nanosecond; a system clock that is set meanwhile (NTP) is not followed. Stamps of a bag or a
    simulator, far from the time of their arrival, shift it: their frames are taken to be as of
    when they arrived.
    """

    def __init__(self, offset_ns: int | None = None) -> None:
        #: stamp less monotonic time
        self.offset_ns = measured_offset_ns() if offset_ns is None else offset_ns

    def monotonic_ns(self, stamp_ns: int, received_ns: int) -> int:
        """When a message of this stamp was taken. received_ns: when it came, monotonic."""
        if abs(stamp_ns - self.offset_ns - received_ns) > OTHER_TIMES_NS:
            self.offset_ns = stamp_ns - received_ns
        return stamp_ns - self.offset_ns

    def stamp_ns(self, t_ns: int) -> int:
        """The stamp of a monotonic time."""
        return t_ns + self.offset_ns


def measured_offset_ns() -> int:
    """System time less monotonic time: of several looks the one that took least."""
    looks = []
    for _ in range(TRIES):
        before = time.monotonic_ns()
        system = time.time_ns()
        after = time.monotonic_ns()
        looks.append((after - before, system - (before + after) // 2))
    return min(looks)[1]
