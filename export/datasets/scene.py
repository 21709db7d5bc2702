"""A scene of a data set: photos to map, photos to localise, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_reloc.arrays import F64
from edge_reloc.errors import SourceError
from edge_reloc.geometry.camera import Camera
from edge_reloc.sources.photo import HEAD_BYTES
from edge_reloc.sources.photo_size import PhotoSize, size_told

FINE = "5cm/5deg,10cm/5deg"
LONG_TERM = "0.25m/2deg,0.5m/5deg,5m/10deg"  # of visuallocalization.net
RELATIVE = "1%/1deg,5%/5deg"


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Shot:
    """A photo of a data set."""

    #: unique in its scene, with slashes
    name: str
    path: Path
    camera: Camera
    #: (4,4); None: kept back by those who publish the data
    cam_from_world: F64 | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a reader makes of a folder."""

    name: str
    mapping: Sequence[Shot]
    queries: Sequence[Shot]
    #: whether the poses' unit is the metre
    metric: bool
    #: accuracy classes as published
    thresholds: str

    @property
    def scored(self) -> bool:
        """Whether the poses of all queries are known."""
        return all(shot.cam_from_world is not None for shot in self.queries)

    def check(self, where: Path) -> Scene:
        """Itself. Raises SourceError where photos are missing, or named twice."""
        if len(self.mapping) < 2 or not self.queries:
            raise SourceError(
                f"{where}: found {len(self.mapping)} photos to map and {len(self.queries)} to "
                f"localise, expected two or more and one or more"
            )
        shots = (*self.mapping, *self.queries)
        names = {shot.name for shot in shots}
        if len(names) < len(shots):
            raise SourceError(f"{where}: {len(shots) - len(names)} photos have the name of another")
        missing = [shot.path for shot in shots if not shot.path.is_file()]
        if missing:
            raise SourceError(
                f"{where}: {len(missing)} of {len(shots)} photos are missing, the first is "
                f"{missing[0]}; unpack all archives of the data set"
            )
        return self


def need(path: Path, what: str) -> Path:
    """An existing file or folder. Raises SourceError with what it is for."""
    if not path.exists():
        raise SourceError(f"{path}: not found; {what}")
    return path


def size_of(path: Path) -> PhotoSize:
    """Of a photo, by its header. Raises SourceError."""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            raise SourceError(f"{path}: not a file")
        with path.open("rb") as stream:
            size = size_told(stream.read(HEAD_BYTES))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    if size is None:
        raise SourceError(f"{path}: its header does not tell the size of the picture")
    return size


def centred(size: PhotoSize, focal_px: float) -> Camera:
    """A pinhole with square pixels whose axis goes through the picture's middle."""
    return Camera(
        model="pinhole",
        width=size.width,
        height=size.height,
        fx=focal_px,
        fy=focal_px,
        cx=0.5 * size.width - 0.5,
        cy=0.5 * size.height - 0.5,
    )


def every_block(items: Sequence[Shot], block: int, period: int) -> tuple[list[Shot], list[Shot]]:
    """Mapping photos and queries: of each `period` blocks of consecutive ones the last is asked."""
    mapping: list[Shot] = []
    queries: list[Shot] = []
    for index, item in enumerate(items):
        (queries if index // block % period == period - 1 else mapping).append(item)
    return mapping, queries


#: a folder and the options of its address, such as reference=
Reader = Callable[[Path, dict[str, str]], Scene]
