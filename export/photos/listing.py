"""The mapping photos: which they are and what their files say of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.errors import MappingError

from .exif import PhotoFacts as PhotoFacts
from .exif import photo_facts

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_ORIENTATION, _XMP = 0x0112, 0x02BC


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
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or exif.get(_XMP)
    return photo_facts(name, width, height, exif, packet or b"")
