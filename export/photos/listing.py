"""The mapping photos: which they are and what their files say of them."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_reloc.errors import SourceError
from edge_reloc.sources.listing import count_kinds, list_folder, names_in_list
from edge_reloc.sources.photo import read_photo, read_photo_file
from edge_reloc.sources.photo_file import TIFF_HEIGHT, TIFF_WIDTH, upright_turns

from .exif import PhotoFacts as PhotoFacts
from .exif import photo_facts

log = logging.getLogger(__name__)

_XMP = 0x02BC


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

    Image.MAX_IMAGE_PIXELS = None  # how many are too many says the reader of photos
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged headers, which we tell in our own words
            return _facts_of(read_photo_file(path), name)
    except Exception as error:  # Pillow raises what each file format's parser raises
        log.debug("%s: header not read: %s", path, error)
        return None


def _facts_of(data: bytes, name: str) -> PhotoFacts:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if image.format == "TIFF":  # Pillow tells the size that a viewer shows
            tags = image.tag_v2  # type: ignore[attr-defined]
            width, height = tags[TIFF_WIDTH], tags[TIFF_HEIGHT]
        # Of a PNG without EXIF before its pixels, Pillow would decode them to look behind.
        unknown = image.format == "PNG" and "exif" not in image.info
        exif = Image.Exif() if unknown else image.getexif()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or exif.get(_XMP)
        # While the file is open: what EXIF points at is read when it is asked for.
        facts = photo_facts(name, width, height, exif, packet or b"")
    return replace(facts, quarter_turns=upright_turns(data))
