"""One photo from disk, or the reason why not: the only reader of photos that there is."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..arrays import U8
from ..command_line.terminal import silent_decoders
from ..errors import SourceError
from .listing import KINDS_BY_NAME, kind_not_read
from .photo_file import (
    JPEG,
    brand_of,
    for_decoder,
    is_cut_off_jpeg,
    scans_of_jpeg,
    tile_pixels,
    upright_turns,
)
from .photo_size import MAX_PIXELS, MIN_SIDE_PX, PhotoSize, size_told, tiff_beginning

HEAD_BYTES = 1 << 18
MOST_SCANS = 500  # of a progressive JPEG, which has about ten: each takes a pass over all pixels
MOST_TILE_PIXELS = 1 << 22  # of a TIFF: a tile larger than this is no larger than the picture
#: a file may take 8 bytes a pixel (16 bits of four channels), and this beside them
BESIDE_PIXELS_BYTES = 1 << 26

#: refuses a size by raising SourceError or CameraError
CheckSize = Callable[[PhotoSize], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A photo as its sensor's rows and columns, and which way is up."""

    #: (H,W) grey or (H,W,3) BGR
    image: U8
    #: counter-clockwise quarter turns that its EXIF asks a viewer to make, 0 to 3
    upright_turns: int


def load_photo(path: str | Path, grey: bool = True, check_size: CheckSize | None = None) -> Photo:
    """A photo with what its EXIF says of its heading.

    EXIF orientation is told and never applied to the pixels: a calibration belongs to the
    sensor's rows and columns, not to how a viewer turns them. 16 bits, alpha and CMYK become
    what OpenCV makes of them. Sizes are read from the header: a photo that `check_size`
    refuses is never decoded. Raises SourceError for a photo that is missing, damaged, cut
    off, of a kind that is not read here, smaller than 16 pixels a side, or of more than
    2^28 pixels.
    """
    data, size = _read(path, check_size)
    image = None
    if size is not None:
        mode = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        buffer = np.frombuffer(for_decoder(data), np.uint8)
        try:
            with silent_decoders():
                image = cv2.imdecode(buffer, mode | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:  # what a decoder does not refuse, OpenCV's own checks do
            image = None
    if image is None or size is None:
        raise SourceError(_unreadable(path, data))
    return Photo(image=np.asarray(image, dtype=np.uint8), upright_turns=upright_turns(data))


def read_photo_file(path: str | Path, check_size: CheckSize | None = None) -> bytes:
    """The bytes of a photo's file, whose header tells a size that is read here.

    check_size: as of `load_photo`. Raises SourceError as that, but for damaged pixels.
    """
    data, size = _read(path, check_size)
    if size is None:
        raise SourceError(_unreadable(path, data))
    return data


def _read(path: str | Path, check_size: CheckSize | None) -> tuple[bytes, PhotoSize | None]:
    """The file, and the size by its header, which no check has refused; None: not an image."""
    try:
        # A pipe that nobody writes to would keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise SourceError(f"{path}: not a file")
            data = stream.read(HEAD_BYTES)
            size = size_told(data) or size_told(tiff_beginning(stream, data))
            if size is not None:
                _check(path, size, check_size)
            most = BESIDE_PIXELS_BYTES + (0 if size is None else 8 * size.pixels)
            if facts.st_size > most:
                of = f"an image of {size}" if size else "what a header may take"
                raise SourceError(f"{path}: {facts.st_size / 1e6:.0f} MB, too many for {of}")
            stream.seek(0)
            data = stream.read(most)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    # OpenCV may fill the missing half of a cut-off JPEG with grey and say nothing.
    if is_cut_off_jpeg(data):
        raise SourceError(f"{path}: the JPEG is cut off after {len(data)} bytes")
    if (scans := scans_of_jpeg(data)) > MOST_SCANS:
        raise SourceError(f"{path}: a JPEG of {scans} scans, expected at most {MOST_SCANS}")
    kind = KINDS_BY_NAME.get(brand_of(data) or "")
    if kind is None and data[:2] != JPEG:  # whatever it is called
        kind = kind_not_read(str(path))
    if kind is not None:
        raise SourceError(f"{path}: {kind.refusal(1)}")
    if size is None:  # where much stands before it
        size = size_told(data)
        if size is not None:
            _check(path, size, check_size)
    if (tile := tile_pixels(data)) > max(MOST_TILE_PIXELS, size.pixels if size else 0):
        raise SourceError(
            f"{path}: tiles of {tile / 1e6:.0f} million pixels for an image of {size}"
        )
    return data, size


def _unreadable(path: str | Path, data: bytes) -> str:
    return f"{path}: not a readable image ({len(data)} bytes)"


def _check(path: str | Path, size: PhotoSize, check_size: CheckSize | None) -> None:
    if min(size.width, size.height) < MIN_SIDE_PX:
        raise SourceError(f"{path}: {size} pixels, expected at least {MIN_SIDE_PX} each")
    if size.pixels > MAX_PIXELS:
        raise SourceError(
            f"{path}: {size} pixels by its header, expected at most {MAX_PIXELS / 1e6:.0f} million"
        )
    if check_size is not None:
        check_size(size)


def read_photo(path: str | Path, grey: bool = True) -> U8:
    """The pixels of `load_photo`: (H,W) grey or (H,W,3) BGR uint8."""
    return load_photo(path, grey).image
