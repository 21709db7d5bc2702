"""A video file that arrives like a camera."""

from __future__ import annotations

import time

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
