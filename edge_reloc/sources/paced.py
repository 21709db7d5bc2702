"""Files that arrive like a camera: a video at its own times, or any frames at an even pace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ..reasons import Fault
from ..structs import Frame
from .capture import Shot
from .video_reader import VideoReader


class PacedCapture:
    """Frames of a file at the times that it presents them; what cannot be decoded is lost."""

    clock = "arrival, at the file's pace"

    def __init__(self, reader: VideoReader) -> None:
        self._reader = reader
        self.about = reader.about
        self._pictures = iter(reader)
        self._start_ns: int | None = None
        self._due_ns = 0
        self._period_ns = round(1e9 / reader.rate_hz)

    def read(self) -> Shot | None:
        """Wait for the next frame's turn, then hand it over; None at the end."""
        lost = 0
        for picture in self._pictures:
            if self._start_ns is None:
                self._start_ns = time.monotonic_ns()
            elif picture.t_ns is not None and picture.t_ns > self._due_ns:
                self._due_ns = picture.t_ns
            else:
                self._due_ns += self._period_ns
            if picture.image is None:
                lost += 1
                continue
            time.sleep(max(0, self._start_ns + self._due_ns - time.monotonic_ns()) * 1e-9)
            return Shot.now(picture.image, lost=lost, upright_turns=picture.upright_turns)
        return None

    def release(self) -> None:
        """Close the file."""
        self._reader.close()


class Ends(Protocol):
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
    def of(cls, source: Ends, rate_hz: float) -> ReplaySource:
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
