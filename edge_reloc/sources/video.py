"""Every frame of a video file, at its own time stamps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import CameraError, SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .frame_maker import FrameMaker
from .in_files import InFiles
from .photo_size import PhotoSize
from .video_file import promised_bytes
from .video_reader import open_video


class VideoSource(InFiles):
    """Frames of a video file, none dropped.

    t_ns is the frame's presentation time from the start of the file; where
    the file has none it advances by the nominal rate, so it always increases.
    A file that is cut off is told in `skipped`. Iterating again starts again.
    Frame.upright_turns is the file's rotation flag.
    """

    def __init__(self, path: Path, camera: Camera | None = None, *, grey: bool = True) -> None:
        super().__init__()
        self._path, self._grey = path, grey
        self._maker = FrameMaker(camera, grey=grey)
        self._reader = open_video(path, grey=grey)
        self.width, self.height = self._reader.width, self._reader.height
        self.rate_hz = self._reader.rate_hz
        self.about = f"{self._reader.about}, times from the file's start"
        self._used = False
        try:
            self._maker.check_size(PhotoSize(self.width, self.height), f"{path}: ")
        except BaseException:
            self.close()
            raise

    def _frames(self) -> Iterator[Frame]:
        if self._used:
            self._reader.close()
            self._reader = open_video(self._path, grey=self._grey)
        self._used = True
        self.skipped = []
        period_ns = round(1e9 / self.rate_hz)
        index, t_ns = -1, -period_ns
        for picture in self._reader:
            index += 1
            later = picture.t_ns is not None and picture.t_ns > t_ns
            t_ns = picture.t_ns if later and picture.t_ns is not None else t_ns + period_ns
            if picture.image is None:
                self.skipped.append(f"frame {index}: cannot be decoded")
                continue
            turns = picture.upright_turns
            try:
                frame = self._maker.frame(picture.image, t_ns, index, upright_turns=turns)
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
        self._reader.close()
