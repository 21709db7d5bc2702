"""Pictures of a video file, decoded by PyAV where it is installed, otherwise by OpenCV.

Measured on 90 frames of kitchen, 640x480, one thread, ms of processor time a frame, PyAV
18.1 and OpenCV 4.14: H.264 3.70 and 3.78, HEVC 6.30 and 6.54, VP9 3.47 and 3.69, MJPEG 1.08
and 1.38. Greys against those that were encoded (H.264): 0.5 too dark on average, OpenCV's way
through BGR 1.8. PyAV tells the presentation time of every frame; OpenCV the time of its number
where it believes the rate to be even.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..arrays import U8
from ..errors import SourceError
from .decoding import (
    av_errors,
    decoder_about,
    have_av,
    pixels_of,
    presented_ns,
    refuse_giants,
    turns_of,
)
from .with_opencv import open_file, rate_of, size_of, upright_turns_of


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Picture:
    """One of a video file."""

    #: (H,W) grey or (H,W,3) BGR, None where it cannot be decoded
    image: U8 | None
    #: from the start of the file; None where the file does not tell
    t_ns: int | None
    upright_turns: int = 0


class VideoReader(Protocol):
    """Pictures of a video file, in order, once."""

    width: int
    height: int
    rate_hz: float
    about: str

    def __iter__(self) -> Iterator[Picture]: ...

    def close(self) -> None: ...


def open_video(path: Path, *, grey: bool) -> VideoReader:
    """The better reader that is there. Raises SourceError for what is no video."""
    return AvVideo(path, grey=grey) if have_av() else OpenCvVideo(path)


class OpenCvVideo:
    """By OpenCV; BGR, rows and columns as the sensor recorded them."""

    def __init__(self, path: Path) -> None:
        self._capture = open_file(path)
        self.width, self.height = size_of(self._capture)
        self.rate_hz = rate_of(self._capture)
        self._turns = upright_turns_of(self._capture)
        self.about = f"{self.width}x{self.height}, {self.rate_hz:g} Hz, decoded by OpenCV"

    def __iter__(self) -> Iterator[Picture]:
        while self._capture.grab():
            t_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            try:
                ok, image = self._capture.retrieve()
            except cv2.error:  # such as frames too large for OpenCV
                ok, image = False, None
            whole = np.asarray(image, np.uint8) if ok and image is not None else None
            yield Picture(image=whole, t_ns=t_ns, upright_turns=self._turns)

    def close(self) -> None:
        """Release the file; iteration ends."""
        self._capture.release()


class AvVideo:
    """By PyAV; grey straight from the decoder where that is asked for."""

    def __init__(self, path: Path, *, grey: bool) -> None:
        import av

        if not path.is_file():
            raise SourceError(f"{path}: no such video file")
        self._grey = grey
        self._container: Any = None
        try:
            self._container = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except av_errors():
            self.close()
            raise SourceError(
                f"{path}: not a video that can be played; convert it: "
                f"ffmpeg -i {path.name} -c:v libx264 video.mp4"
            ) from None
        try:
            refuse_giants(self._stream, str(path))
        except SourceError:
            self.close()
            raise
        self._stream.thread_type = "AUTO"
        self.width, self.height = self._stream.width, self._stream.height
        self.rate_hz = float(self._stream.average_rate or 0) or 30.0
        self.about = f"{decoder_about(self._stream)}, decoded by PyAV"

    def __iter__(self) -> Iterator[Picture]:
        start_ns: int | None = None
        for frame in self._decoded():
            if frame is None:
                yield Picture(image=None, t_ns=None)
                continue
            at_ns = presented_ns(frame)
            start_ns = at_ns if start_ns is None else start_ns
            t_ns = None if at_ns is None or start_ns is None else at_ns - start_ns
            image = pixels_of(frame, grey=self._grey)
            yield Picture(image=image, t_ns=t_ns, upright_turns=turns_of(frame))

    def _decoded(self) -> Iterator[Any]:
        """Frames, None for each packet that cannot be decoded, until the file ends or is cut."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av_errors():  # the file is cut off
                packet = None
            if packet is None:
                return
            try:
                yield from packet.decode()
            except av_errors():
                yield None

    def close(self) -> None:
        """Release the file; iteration ends."""
        if self._container is not None:
            self._container.close()
