"""Files that arrive like a camera: each frame at its time, and late ones are dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from ..reasons import Fault
from ..structs import Frame
from .freshness import wait_ns
from .read_ahead import ReadAhead

AHEAD = 8  # frames that are in memory before they are due


class Ends(Protocol):
    """What is used of a source that ends."""

    width: int
    height: int
    skipped: list[str]

    @property
    def about(self) -> str: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class ReplaySource:
    """Frames of photos, a video or a recording, as if a camera took them now.

    The first one is due when it is asked for, the others as much later as their times say, or
    when they are read, if that takes longer; t_ns becomes when a frame was due. now_ns, sleep:
    the clock that they arrive by.
    """

    live = True
    fault: Fault | None = None

    def __init__(
        self,
        source: Ends,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._now_ns, self._sleep = source, now_ns, sleep
        self.width, self.height = source.width, source.height
        self.dropped = 0
        self.skipped = source.skipped
        self.ended = False
        self._begun_ns: int | None = None
        self._period_ns = 0  # between frames of late
        self._ahead: ReadAhead | None = None

    @property
    def about(self) -> str:
        """What was opened."""
        about = self._source.about.partition(", times")[0]
        return f"{about}, as if from a camera; times: when each is due"

    def __iter__(self) -> Iterator[Frame]:
        while not self.ended:
            frame = self.wait(1.0)
            if frame is not None:
                yield frame

    def wait(self, timeout_s: float) -> Frame | None:
        """The newest frame that is due, or the next one; None where none comes in time."""
        if self.ended:
            return None
        if self._ahead is None:
            self._ahead = ReadAhead(self._source, AHEAD)
        ahead, end_ns = self._ahead, self._now_ns() + round(timeout_s * 1e9)
        is_read = ahead.following() is not None
        frame = ahead.following(timeout_s)
        if frame is None:
            ahead.check()
            self.ended = ahead.ended
            return None
        now_ns = self._now_ns()
        if not is_read:
            self._begin_at(max(now_ns, self._due_ns(frame)), frame)
        due_ns = self._due_ns(frame)
        self._sleep(max(0, min(due_ns, end_ns) - now_ns) * 1e-9)
        if due_ns > end_ns:
            return None
        frame = self._newest(ahead, end_ns)
        self.ended, self.skipped = ahead.ended, self._source.skipped
        return replace(frame, t_ns=self._due_ns(frame), received_ns=self._now_ns())

    def close(self) -> None:
        """No further frame."""
        self.ended = True
        if self._ahead is not None:
            self._ahead.close()
        self._source.close()

    def _newest(self, ahead: ReadAhead, end_ns: int) -> Frame:
        """Of those that are due, or the one after it where that is nearly due."""
        frame = ahead.take()
        while True:
            waited_ns = self._now_ns() - self._due_ns(frame)
            behind = waited_ns > self._period_ns > 0
            following = ahead.following(self._period_ns * 1e-9 if behind else 0.0)
            if following is None:
                if behind and not ahead.ended:  # files cannot be read so fast
                    self._begin_at(self._now_ns(), frame)
                return frame
            self._period_ns = following.t_ns - frame.t_ns
            left_ns = self._due_ns(following) - self._now_ns()
            if left_ns > 0:
                soon = wait_ns(self._period_ns - left_ns, self._period_ns) > 0
                if not soon or self._due_ns(following) > end_ns:
                    return frame
                self._sleep(left_ns * 1e-9)
            frame = ahead.take()
            self.dropped += 1

    def _due_ns(self, frame: Frame) -> int:
        if self._begun_ns is None:
            self._begin_at(self._now_ns(), frame)
        assert self._begun_ns is not None
        return self._begun_ns + frame.t_ns

    def _begin_at(self, due_ns: int, frame: Frame) -> None:
        """Later frames are as much later as their times say."""
        self._begun_ns = due_ns - frame.t_ns
