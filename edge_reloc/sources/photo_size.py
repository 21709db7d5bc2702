"""The size that a photo's header tells, before a pixel of it is decoded."""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from .photo_file import PNG, TIFF_HEIGHT, TIFF_ORDERS, TIFF_WIDTH, jpeg_segments, number, tiff_tag

#: 2^28: what the largest sensors of phones and cameras deliver (200 megapixels) fits
MAX_PIXELS = 1 << 28
MIN_SIDE_PX = 16
# SOF0 to SOF15 of JPEG, without the tables (DHT, JPG, DAC) that share their range
FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
DIRECTORY_BYTES = 1 << 16
BMP_CORE_HEADER = 12  # bytes, of OS/2: its sizes have 16 bits
_NETPBM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+?(\d{1,10})(?:\s|#[^\n]*\n)+?(\d{1,10})[\s#]")


class PhotoSize(NamedTuple):
    """Of the stored rows and columns, pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def size_told(data: bytes) -> PhotoSize | None:
    """Size by the header of a JPEG, PNG, WebP, TIFF, BMP, PGM or PPM.

    data: the file, or as much of its beginning as there is. None where that does not tell it.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:8] == PNG:
        return _big_endian(data, 16) if data[12:16] == b"IHDR" else None
    if data[:4] in TIFF_ORDERS:
        width, height = tiff_tag(data, 0, TIFF_WIDTH), tiff_tag(data, 0, TIFF_HEIGHT)
        return PhotoSize(width.value, height.value) if width and height else None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:2] == b"BM":
        return _bmp(data)
    found = _NETPBM.match(data)
    return PhotoSize(int(found[1]), int(found[2])) if found else None


def tiff_beginning(stream: BinaryIO, data: bytes) -> bytes:
    """A TIFF as if its first directory, which may stand behind the pixels, came first.

    data: its beginning. Empty for other files.
    """
    order = TIFF_ORDERS.get(data[:4])
    if order is None:
        return b""
    stream.seek(number(data[4:8], order))
    first = (8).to_bytes(4, "little" if order == "little" else "big")
    return data[:4] + first + stream.read(DIRECTORY_BYTES)


def _jpeg(data: bytes) -> PhotoSize | None:
    for segment in jpeg_segments(data):
        if segment.kind in FRAME_MARKERS and segment.start + 5 <= len(data):
            at = segment.start + 1  # after the sample precision
            return PhotoSize(number(data[at + 2 : at + 4], "big"), number(data[at : at + 2], "big"))
    return None


def _webp(data: bytes) -> PhotoSize | None:
    """Google, "WebP Container Specification" and RFC 6386 (9.1)."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return PhotoSize(1 + number(body[4:7], "little"), 1 + number(body[7:10], "little"))
    if kind == b"VP8L":
        bits = number(body[1:5], "little")
        return PhotoSize(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = number(body[6:8], "little"), number(body[8:10], "little")
        return PhotoSize(width & 0x3FFF, height & 0x3FFF)
    return None


def _bmp(data: bytes) -> PhotoSize | None:
    if len(data) < 26:
        return None
    if number(data[14:18], "little") == BMP_CORE_HEADER:
        return PhotoSize(number(data[18:20], "little"), number(data[20:22], "little"))
    width, height = (int.from_bytes(data[a : a + 4], "little", signed=True) for a in (18, 22))
    return PhotoSize(abs(width), abs(height))  # rows from the top have a negative height


def _big_endian(data: bytes, at: int) -> PhotoSize | None:
    if len(data) < at + 8:
        return None
    return PhotoSize(number(data[at : at + 4], "big"), number(data[at + 4 : at + 8], "big"))
