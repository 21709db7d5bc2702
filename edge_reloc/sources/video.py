"""Every frame of a video file, at its own time stamps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import CameraError, SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .capture import open_file, rate_of, upright_turns_of
from .frame_maker import FrameMaker
from .photo_size import PhotoSize
from .video_file import promised_bytes


class VideoSource:
    """Frames of a video file, none dropped.

    t_ns is the frame's presentation time from the start of the file; where
    the file has none it advances by the nominal rate, so it always increases.
    A file that is cut off is told in `skipped`. Iterating again starts again.
    Frame.upright_turns is the file's rotation flag.
    """

    live = False

    def __init__(self, path: Path, camera: Camera | None = None, *, grey: bool = True) -> None:
        self._path = path
        self._capture = open_file(path)
        self._maker = FrameMaker(camera, grey=grey)
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.rate_hz = rate_of(self._capture)
        self._upright_turns = upright_turns_of(self._capture)
        self.dropped = 0
        self.skipped: list[str] = []
        self._used = False
        try:
            self._maker.check_size(PhotoSize(self.width, self.height), f"{path}: ")
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        if self._used:
            self._capture.release()
            self._capture = open_file(self._path)
        self._used = True
        self.skipped = []
        period_ns = round(1e9 / self.rate_hz)
        index, t_ns = -1, -period_ns
        while self._capture.grab():
            index += 1
            stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            t_ns = stamp_ns if stamp_ns > t_ns else t_ns + period_ns
            try:
                ok, image = self._capture.retrieve()
            except cv2.error:  # such as frames too large for OpenCV
                ok, image = False, None
            if not ok or image is None:
                self.skipped.append(f"frame {index}: cannot be decoded")
                continue
            image = np.asarray(image, dtype=np.uint8)
            try:
                frame = self._maker.frame(image, t_ns, index, upright_turns=self._upright_turns)
            except CameraError as error:  # a stream may change its size
                self.skipped.append(f"frame {index}: {error}")
                continue
            yield frame
        if index < 0:
            raise SourceError(f"{self._path}: the video holds no frame that can be decoded")
        promised, size = promised_bytes(self._path), os.path.getsize(self._path)
        if promised is not None and promised > size:
            self.skipped.append(
                f"frames from {index + 1} on: the video ends before them, "
                f"cut off after {size} of {promised} bytes"
            )

    def close(self) -> None:
        """Release the file; iteration ends."""
        self._capture.release()
