"""Times of an autopilot in ours, by TIMESYNC."""

from __future__ import annotations

from collections import deque

SAMPLES = 16  # of which that with the shortest way there and back counts
LONGEST_NS = 100_000_000  # there and back; beyond, it tells too little
#: requests of PX4's that must be answered before it believes our stamps
PX4_CONVERGED = 500


class AutopilotClock:
    """What an autopilot's answers tell of its clock, which starts at its boot."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES)  # duration, ours less its
        #: of the autopilot's own requests, answered
        self.answered = 0

    @property
    def known(self) -> bool:
        """Whether `ours` has an answer."""
        return bool(self._samples)

    def answer(self, asked_ns: int, theirs_ns: int, now_ns: int) -> None:
        """An answer to what was asked at a time of ours. A reboot begins anew."""
        duration_ns = now_ns - asked_ns
        if not 0 <= duration_ns <= LONGEST_NS:
            return
        offset_ns = (asked_ns + now_ns) // 2 - theirs_ns
        if self._samples and abs(offset_ns - self._best()) > LONGEST_NS:
            self._samples.clear()
        self._samples.append((duration_ns, offset_ns))

    def ours(self, theirs_ns: int) -> int:
        """Our time (CLOCK_MONOTONIC, ns) of one of theirs."""
        return theirs_ns + self._best()

    def _best(self) -> int:
        return min(self._samples)[1]
