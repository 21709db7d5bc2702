"""Whether a video file is all there, by the lengths that its container writes down.

The number of frames that a container tells is no measure of that: where the rate varies it
is made of duration and rate, and an edit list leaves out frames that are counted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ..files import open_file

MOST_BOXES = 1 << 16  # cameras write ten, or one a second; a file of empty ones would take minutes
BOX_HEAD, LARGE_BOX_HEAD = 8, 16
MP4_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def promised_bytes(path: Path) -> int | None:
    """Size of the file by its own account, None where the container tells none.

    Known of MP4 and MOV (boxes), AVI (RIFF) and Matroska (EBML).
    """
    size = os.path.getsize(path)
    with open_file(path) as stream:
        head = stream.read(12)
        if head[:4] == b"RIFF":
            return _riff(stream, size)
        if head[:4] == EBML:
            return _matroska(stream)
        if head[4:8] in MP4_FIRST_BOXES:
            return _boxes(stream, size)
    return None


def _boxes(stream: BinaryIO, size: int) -> int:
    """End of the last box; one that has no length reaches to the end of the file."""
    at = 0
    for _ in range(MOST_BOXES):
        if at + BOX_HEAD > size:
            return at
        stream.seek(at)
        head = stream.read(LARGE_BOX_HEAD)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < BOX_HEAD or not head[4:8].isalnum():  # to the end, or not a box
            return size
        at += length
    return size


def _riff(stream: BinaryIO, size: int) -> int | None:
    """End of the last RIFF chunk: files over a gigabyte hold several."""
    at = 0
    for _ in range(MOST_BOXES):
        if at + BOX_HEAD > size:
            return at if at - size != 1 else size  # not every writer pads the end
        stream.seek(at)
        head = stream.read(BOX_HEAD)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or length == 0:  # something after, or a writer that never ended
            return at or None
        at += BOX_HEAD + length + length % 2
    return size


def _matroska(stream: BinaryIO) -> int | None:
    at = 0
    for expected in (EBML, SEGMENT):
        stream.seek(at)
        if stream.read(4) != expected:
            return None
        first = stream.read(1)
        if not first or first[0] == 0:
            return None
        width = 9 - first[0].bit_length()  # leading zeros tell how many bytes the length has
        rest = stream.read(width - 1)
        length = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
        if length == (1 << (7 * width)) - 1:  # unknown: a stream that was written as it came
            return None
        at = at + 4 + width + length
    return at
