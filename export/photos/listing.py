"""The mapping photos: which they are and what their files say of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_reloc.errors import MappingError

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  # what "35 mm equivalent" refers to
_ORIENTATION, _EXIF_IFD, _GPS_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0x8825, 0xA405


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """Size (as shown upright) and what EXIF tells; None where it does not."""

    name: str
    width: int  #: pixels
    height: int  #: pixels
    focal_px: float | None = None
    focal_relative_std: float = 0.1
    focal_source: str = "EXIF"
    lens_key: tuple[Any, ...] = ()
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    altitude_m: float | None = None


def list_photos(images: Path, listing: Path | None = None) -> list[str]:
    """Names of the photos under a folder, sorted; or those of a list file.

    listing: text file, one name a line, relative to `images`.
    """
    if not images.is_dir():
        raise MappingError(f"{images}: no such folder of photos")
    if listing is not None:
        try:
            lines = listing.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise MappingError(f"{listing}: cannot read this list of photos ({error})") from error
        names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not names:
            raise MappingError(f"{listing}: the list is empty; expected a photo name a line")
        return names
    names = sorted(
        path.relative_to(images).as_posix()
        for path in images.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not names:
        raise MappingError(f"{images}: no photos here; expected files like *.jpg or *.png")
    return names


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
            exif = image.getexif()
    except Exception as error:  # Pillow raises what each file format's parser raises
        log.debug("%s: header not read: %s", path, error)
        return None
    if exif.get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    film_mm = _number(exif.get_ifd(_EXIF_IFD).get(_FOCAL_35MM))
    gps = exif.get_ifd(_GPS_IFD)
    altitude = _number(gps.get(6))
    if altitude is not None and gps.get(5) in (1, b"\x01"):
        altitude = -altitude
    return PhotoFacts(
        name=name,
        width=width,
        height=height,
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
