"""Photos of a folder, a glob pattern or a list, in natural order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import CameraError, ConfigError, SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .frame_maker import FrameMaker
from .photo import PHOTO_SUFFIXES, read_photo


class ImageSource:
    """Frames from photos; what cannot be read is skipped and listed.

    Photos carry no monotonic capture time: t_ns counts from 0 at `rate_hz`,
    and a skipped photo leaves its gap. Frame.index is the position in the
    sequence, Frame.name the file name relative to `base`. Iterating again
    starts again.
    """

    live = False

    def __init__(
        self,
        base: Path,
        names: Sequence[str],
        camera: Camera | None = None,
        *,
        rate_hz: float = 30.0,
        grey: bool = True,
    ) -> None:
        if not rate_hz > 0:
            raise ConfigError(f"rate_hz: found {rate_hz}, expected above 0")
        self._base, self._names, self._grey = base, list(names), grey
        self._period_ns = 1e9 / rate_hz
        self._maker = FrameMaker(camera, grey=grey)
        self.dropped = 0
        self.skipped: list[str] = []
        self.width, self.height = self._first_size()

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped = []
        for index, name in enumerate(self._names):
            try:
                image = read_photo(self._path(name), self._grey)
                frame = self._maker.frame(image, round(index * self._period_ns), index, name)
            except (SourceError, CameraError) as error:
                self._skip(name, error)
                continue
            yield frame

    def close(self) -> None: ...

    def _first_size(self) -> tuple[int, int]:
        """(width, height) of the first readable photo, which must fit the camera."""
        for name in self._names:
            try:
                height, width = read_photo(self._path(name), self._grey).shape[:2]
            except SourceError as error:
                self._skip(name, error)
                continue
            self._maker.camera_at(width, height)
            return width, height
        raise SourceError(
            f"{self._base}: none of {len(self._names)} photos can be read; first: {self.skipped[0]}"
        )

    def _path(self, name: str) -> str:
        # Not pathlib, which interns every path that it makes: memory that grows.
        return os.path.join(self._base, name)

    def _skip(self, name: str, error: Exception) -> None:
        text = str(error).removeprefix(f"{self._path(name)}: ")
        self.skipped.append(f"{name}: {text}")


def names_in_folder(folder: Path) -> list[str]:
    """Names of the photos directly in a folder, natural order."""
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder of photos")
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if _is_photo(e.name) and e.is_file()]
    if not names:
        kinds = " ".join(sorted(PHOTO_SUFFIXES))
        raise SourceError(f"{folder}: no photos in this folder (looked for {kinds})")
    return sorted(names, key=natural_key)


def _is_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES


def names_in_glob(pattern: str) -> tuple[Path, list[str]]:
    """Folder before the first wildcard, and the photos that match below it."""
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    base = Path(*parts[:fixed])
    found = [Path(p) for p in glob.glob(pattern, recursive=True)]
    names = [
        p.relative_to(base).as_posix()
        for p in found
        if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file()
    ]
    if not names:
        raise SourceError(
            f"{pattern}: no photo matches this pattern (quote it so that the shell leaves it alone)"
        )
    return base, sorted(names, key=natural_key)


def names_in_list(path: Path) -> list[str]:
    """Names in a text file, one a line in its order; '#' starts a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not a text file with one photo name a line") from None
    names = [line.strip() for line in lines]
    names = [name for name in names if name and not name.startswith("#")]
    if not names:
        raise SourceError(f"{path}: the list names no photo; expected one name a line")
    return names


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key under which frame9 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if i % 2 else (-1, p.lower()) for i, p in enumerate(parts)] + [(-1, name)]
