"""Photos or a video that arrive as if a camera took them now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ..reasons import Fault
from ..structs import Frame


class Recorded(Protocol):
    """What is used of a source that ends."""

    skipped: list[str]

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class ReplaySource:
    """Frames become due at an even pace from the first request on; late ones are dropped.

    t_ns is when a frame became due.
    """

    live = True
    fault: Fault | None = None

    def __init__(self, frames: Sequence[Frame], rate_hz: float = 30.0) -> None:
        self._frames, self._period_ns = frames, 1e9 / rate_hz
        self._begun_ns: int | None = None
        self._next = 0
        self.height, self.width = frames[0].image.shape[:2]
        self.dropped = 0
        self.skipped: list[str] = []

    @classmethod
    def of(cls, source: Recorded, rate_hz: float) -> ReplaySource:
        """All frames of another source, held in memory. SourceError where there are none."""
        with contextlib.closing(source):
            replay = cls(list(source), rate_hz)
            replay.skipped = source.skipped
        return replay

    @property
    def about(self) -> str:
        """What was opened."""
        rate_hz = 1e9 / self._period_ns
        return f"{len(self._frames)} frames in memory, {self.width}x{self.height}, {rate_hz:g} Hz"

    @property
    def ended(self) -> bool:
        """Whether the last frame has been due."""
        return self._next >= len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        while not self.ended:
            frame = self.wait(1.0)
            if frame is not None:
                yield frame

    def wait(self, timeout_s: float) -> Frame | None:
        """The newest frame that is due, or the next one; None where none comes in time."""
        if self.ended:
            return None
        now_ns = time.monotonic_ns()
        if self._begun_ns is None:
            self._begun_ns = now_ns
        newest = int((now_ns - self._begun_ns) / self._period_ns)
        taken = max(self._next, min(newest, len(self._frames) - 1))
        due_ns = self._begun_ns + round(taken * self._period_ns)
        if due_ns - now_ns > timeout_s * 1e9:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0, due_ns - now_ns) * 1e-9)
        self.dropped += taken - self._next
        self._next = taken + 1
        frame = self._frames[taken]
        return replace(frame, t_ns=due_ns, received_ns=time.monotonic_ns())

    def close(self) -> None:
        """No further frame."""
        self._next = len(self._frames)
