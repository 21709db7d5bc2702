"""Whether the newest frame there is should be taken, or the next one waited for.

A pose is as old as its frame was when work on it began, and the work. Where a frame lay about
for much of a period the next one is nearly there: waiting for that costs little and makes the
pose younger by a period. ENOUGH is where the newest known pose is youngest over time, frames
that are lost by waiting counted in: of 33 ms frames and work of 33 to 100 ms 0.35 to 0.5.
"""

from __future__ import annotations

ENOUGH = 0.4  # of a period that a frame may have waited
LATE = 0.25  # of a period by which frames come late, at most
LONGEST_NS = 40_000_000  # of waiting: a slow camera's frames are taken as they are


def wait_ns(waited_ns: int, period_ns: float) -> int:
    """How long to wait for the next frame at most; 0 where this one is to be taken.

    waited_ns: since it came. period_ns: between frames, 0 for unknown.
    """
    due_ns = round(period_ns * (1.0 + LATE)) - waited_ns
    wait = waited_ns > ENOUGH * period_ns and 0 < due_ns <= LONGEST_NS
    return due_ns if wait else 0
