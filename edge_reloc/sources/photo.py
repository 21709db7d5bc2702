"""One photo from disk, or the reason why not: the only reader of photos that there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..arrays import U8
from ..command_line.terminal import silent_decoders
from ..errors import SourceError
from .listing import KINDS_BY_NAME, kind_not_read
from .photo_file import JPEG, brand_of, is_cut_off_jpeg, upright_turns, with_plain_orientation

MIN_SIDE_PX = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A photo as its sensor's rows and columns, and which way is up."""

    #: (H,W) grey or (H,W,3) BGR
    image: U8
    #: counter-clockwise quarter turns that its EXIF asks a viewer to make, 0 to 3
    upright_turns: int


def load_photo(path: str | Path, grey: bool = True) -> Photo:
    """A photo with what its EXIF says of its heading.

    EXIF orientation is told and never applied to the pixels: a calibration belongs to the
    sensor's rows and columns, not to how a viewer turns them. 16 bits, alpha and CMYK become
    what OpenCV makes of them. Raises SourceError for a photo that is missing, damaged, cut
    off, of a kind that is not read here, or smaller than 16 pixels a side.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    # OpenCV may fill the missing half of a cut-off JPEG with grey and say nothing.
    if is_cut_off_jpeg(data):
        raise SourceError(f"{path}: the JPEG is cut off after {len(data)} bytes")
    kind = KINDS_BY_NAME.get(brand_of(data) or "")
    if kind is None and data[:2] != JPEG:  # whatever it is called
        kind = kind_not_read(str(path))
    if kind is not None:
        raise SourceError(f"{path}: {kind.refusal(1)}")
    image = None
    if data:
        mode = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        buffer = np.frombuffer(with_plain_orientation(data), np.uint8)
        with silent_decoders():
            image = cv2.imdecode(buffer, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise SourceError(f"{path}: not a readable image ({len(data)} bytes)")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise SourceError(f"{path}: {width}x{height} pixels, expected at least {MIN_SIDE_PX} each")
    return Photo(image=np.asarray(image, dtype=np.uint8), upright_turns=upright_turns(data))


def read_photo(path: str | Path, grey: bool = True) -> U8:
    """The pixels of `load_photo`: (H,W) grey or (H,W,3) BGR uint8."""
    return load_photo(path, grey).image
