"""One photo from disk, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..arrays import U8
from ..errors import SourceError

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def read_photo(path: str | Path, grey: bool = True) -> U8:
    """The pixels of a photo, (H,W) grey or (H,W,3) BGR uint8.

    EXIF orientation is ignored: a calibration belongs to the sensor's rows and
    columns, not to how a viewer turns them. Raises SourceError for a photo
    that is missing, damaged or cut off.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    # OpenCV fills the missing half of a cut-off JPEG with grey and says nothing.
    if data[:2] == b"\xff\xd8" and not _is_whole_jpeg(data):
        raise SourceError(f"{path}: the JPEG is cut off after {len(data)} bytes")
    mode = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    image = None
    if data:
        buffer = np.frombuffer(data, np.uint8)
        image = cv2.imdecode(buffer, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise SourceError(f"{path}: not a readable image ({len(data)} bytes)")
    return np.asarray(image, dtype=np.uint8)


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end marker follows the picture's own scan.

    The header segments are stepped over by their lengths, because an embedded
    thumbnail has an end marker of its own.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # start of scan: stuffed data up to the end marker
            return data.find(b"\xff\xd9", at) >= 0
    return False
