"""Photos as frames, one after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import CameraError, ConfigError, SourceError, one_line
from ..geometry.camera import Camera
from ..structs import Frame
from .frame_maker import FrameMaker
from .in_files import InFiles
from .listing import count_kinds, kind_not_read
from .photo import Photo, load_photo
from .photo_size import PhotoSize

log = logging.getLogger(__name__)


class ImageSource(InFiles):
    """Frames from photos; what cannot be read is skipped and listed.

    Photos carry no monotonic capture time: t_ns counts from 0 at `rate_hz`,
    and a skipped photo leaves its gap. Frame.index is the position in the
    sequence, Frame.name the file name relative to `base`, Frame.upright_turns
    what EXIF says. Iterating again starts again. others: files beside the photos,
    of kinds that are not read here, which are listed with what is skipped.
    """

    def __init__(
        self,
        base: Path,
        names: Sequence[str],
        camera: Camera | None = None,
        *,
        rate_hz: float = 30.0,
        grey: bool = True,
        others: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not rate_hz > 0:
            raise ConfigError(f"rate_hz: found {rate_hz}, expected above 0")
        self._base, self._names, self._grey = base, list(names), grey
        self._others = list(others)
        for line in count_kinds(others):
            log.warning("%s: %s", base, line)
        self._period_ns = 1e9 / rate_hz
        self._maker = FrameMaker(camera, grey=grey)
        self.width, self.height = self._first_size()

    def __len__(self) -> int:
        return len(self._names)

    def _frames(self) -> Iterator[Frame]:
        self.skipped = []
        for name in self._others:
            kind = kind_not_read(name)
            self.skipped.append(f"{name}: {kind.name if kind else 'it'} is not read here")
        for index, name in enumerate(self._names):
            try:
                photo = self._load(name)
                t_ns = round(index * self._period_ns)
                frame = self._maker.frame(
                    photo.image, t_ns, index, name, upright_turns=photo.upright_turns
                )
            except (SourceError, CameraError) as error:
                self._skip(name, error)
                continue
            yield frame

    @property
    def about(self) -> str:
        """What was opened."""
        return f"{len(self._names)} photos, {self.width}x{self.height}, times counted from 0"

    def _first_size(self) -> tuple[int, int]:
        """(width, height) of the first readable photo, which must fit the camera."""
        for name in self._names:
            try:
                height, width = self._load(name).image.shape[:2]
            except SourceError as error:
                self._skip(name, error)
                continue
            self._maker.begin_with(PhotoSize(width, height))
            return width, height
        raise SourceError(
            f"{self._base}: none of {len(self._names)} photos can be read; first: {self.skipped[0]}"
        )

    def _load(self, name: str) -> Photo:
        return load_photo(self._path(name), self._grey, self._maker.check_size)

    def _path(self, name: str) -> str:
        # Not pathlib, which interns every path that it makes: memory that grows.
        return os.path.join(self._base, name)

    def _skip(self, name: str, error: Exception) -> None:
        text = str(error).removeprefix(f"{one_line(self._path(name))}: ")
        self.skipped.append(one_line(f"{name}: {text}"))
