"""The mapping photos: which they are and what their files say of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_reloc.errors import SourceError
from edge_reloc.sources.listing import count_kinds, list_folder, names_in_list
from edge_reloc.sources.photo import read_photo
from edge_reloc.sources.photo_file import upright_turns

log = logging.getLogger(__name__)

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  # what "35 mm equivalent" refers to
_EXIF_IFD, _GPS_IFD, _FOCAL_35MM = 0x8769, 0x8825, 0xA405
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """Size of the sensor's picture and what EXIF tells; None where it does not."""

    name: str
    width: int  #: pixels
    height: int  #: pixels
    quarter_turns: int = 0  #: counter-clockwise, that show the photo upright
    focal_px: float | None = None
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    altitude_m: float | None = None

    def size_turned(self, quarter_turns: int) -> tuple[int, int]:
        """(width, height) after so many quarter turns."""
        return (self.height, self.width) if quarter_turns % 2 else (self.width, self.height)


def list_photos(images: Path, listing: Path | None = None) -> list[str]:
    """Names of the photos under a folder and those below it, in natural order; or of a list.

    listing: text file, one name a line, relative to `images`. Raises SourceError for none.
    """
    if listing is None:
        return list_folder(images, deep=True).photos
    if not images.is_dir():
        raise SourceError(f"{images}: no such folder of photos")
    return list(dict.fromkeys(names_in_list(listing, images)))


def kinds_not_read(images: Path) -> list[str]:
    """A line for each kind of picture under a folder that is not read here."""
    return count_kinds(list_folder(images, deep=True).others)


def refusal_of(path: Path) -> str:
    """Why a photo cannot be used."""
    try:
        read_photo(path)
    except SourceError as error:
        return str(error)
    return f"{path}: its header cannot be read"


def read_facts(images: Path, names: Sequence[str]) -> dict[str, PhotoFacts]:
    """Facts of the photos whose headers can be read, by name."""
    facts = {}
    for name in names:
        fact = _facts(images / name, name)
        if fact is not None:
            facts[name] = fact
    return facts


def _facts(path: Path, name: str) -> PhotoFacts | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format == "TIFF":  # Pillow tells the size that a viewer shows
                tags = image.tag_v2  # type: ignore[attr-defined]
                width, height = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
            exif = image.getexif()
        turns = upright_turns(path.read_bytes())
    except Exception as error:  # Pillow raises what each file format's parser raises
        log.debug("%s: header not read: %s", path, error)
        return None
    film_mm = _number(exif.get_ifd(_EXIF_IFD).get(_FOCAL_35MM))
    gps = exif.get_ifd(_GPS_IFD)
    altitude = _number(gps.get(6))
    if altitude is not None and gps.get(5) in (1, b"\x01"):
        altitude = -altitude
    return PhotoFacts(
        name=name,
        width=width,
        height=height,
        quarter_turns=turns,
        focal_px=film_mm / FILM_DIAGONAL_MM * math.hypot(width, height) if film_mm else None,
        latitude_deg=_angle_deg(gps.get(2), gps.get(1), "S"),
        longitude_deg=_angle_deg(gps.get(4), gps.get(3), "W"),
        altitude_m=altitude,
    )


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _angle_deg(value: Any, reference: Any, negative: str) -> float | None:
    parts = [_number(part) for part in value] if isinstance(value, tuple) else []
    if len(parts) != 3 or None in parts:
        return None
    degrees, minutes, seconds = (part or 0.0 for part in parts)
    angle = degrees + minutes / 60 + seconds / 3600
    return -angle if str(reference).upper().startswith(negative) else angle
