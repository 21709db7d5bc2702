"""What a photo's file says around its pixels: is it whole, and which way is up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

JPEG, PNG, EXIF = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"Exif\0\0"
TIFF_ORDERS = {b"II*\0": "little", b"MM\0*": "big"}
START_OF_SCAN, APP1, END_MARKER = 0xDA, 0xE1, b"\xff\xd9"
SCAN_MARKER = b"\xff\xda"
NO_LENGTH = {0x01, *range(0xD0, 0xD8)}  # markers of JPEG that stand alone
PNG_TEXTS, PNG_CHECK_BYTES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP"), 4
ORIENTATION = 0x0112
TIFF_WIDTH, TIFF_HEIGHT, TIFF_ROWS, TIFF_TILE_WIDTH, TIFF_TILE_HEIGHT = 256, 257, 278, 322, 323
ENTRY_BYTES = 12
BYTES_OF_TYPE = {3: 2, 4: 4}  # of TIFF: SHORT, LONG

# Which turn brings the edge to the top that a viewer shows there. The mirrored orientations
# (2, 4, 5, 7) have no turn of their own and take the one that agrees on that edge.
TURNS_OF_ORIENTATION = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}

#: of the ISO media files that hold pictures: the letters after "ftyp"
BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
    b"avif": "AVIF",
    b"avis": "AVIF",
}


class _Segment(NamedTuple):
    """A header segment of a JPEG, or a chunk of a PNG or WebP."""

    kind: int | bytes
    start: int  #: of what it holds
    end: int


class Tag(NamedTuple):
    """A whole number in the first directory of a TIFF."""

    value: int
    start: int  #: where the value stands
    end: int
    order: str  #: "little" or "big"


def upright_turns(data: bytes) -> int:
    """Counter-clockwise quarter turns, as of np.rot90, that EXIF asks a viewer to make.

    data: of a JPEG, PNG, WebP or TIFF file. 0 where nothing sensible is said.
    """
    found = _orientation(data)
    return 0 if found is None else TURNS_OF_ORIENTATION.get(found.value, 0)


def for_decoder(data: bytes) -> bytes:
    """The same pixels in a file that asks a decoder for nothing else.

    OpenCV leaves the EXIF of other files alone when it is told to, but turns a TIFF always, and
    takes memory for as many rows as it says that a strip has. The texts of a PNG may be packed
    gigabytes, which OpenCV unpacks and nobody reads.
    """
    if data[:4] in TIFF_ORDERS:
        data = _with_at_most(data, ORIENTATION, 1)
        height = tiff_tag(data, 0, TIFF_HEIGHT)
        return data if height is None else _with_at_most(data, TIFF_ROWS, height.value)
    if data[:8] == PNG and any(chunk.kind in PNG_TEXTS for chunk in _chunks(data)):
        kept = [c for c in _chunks(data) if c.kind not in PNG_TEXTS]
        return PNG + b"".join(data[c.start - 8 : c.end + PNG_CHECK_BYTES] for c in kept)
    return data


def _with_at_most(data: bytes, tag: int, most: int) -> bytes:
    """A TIFF in which a whole number of the first directory is no larger."""
    found = tiff_tag(data, 0, tag)
    if found is None or found.value <= most:
        return data
    written = _bytes(most, found.end - found.start, found.order)
    return data[: found.start] + written + data[found.end :]


def is_cut_off_jpeg(data: bytes) -> bool:
    """Whether no end marker follows the picture's own scan.

    The header segments are stepped over by their lengths, because an embedded
    thumbnail has an end marker of its own.
    """
    if data[:2] != JPEG:
        return False
    start = _scan_data(data)
    return start is None or data.find(END_MARKER, start) < 0


def scans_of_jpeg(data: bytes) -> int:
    """Scans of the picture, each of which a decoder makes a pass for; 0 for other files."""
    start = _scan_data(data) if data[:2] == JPEG else None
    if start is None:
        return 0
    end = data.find(END_MARKER, start)
    return 1 + data.count(SCAN_MARKER, start, len(data) if end < 0 else end)


def tile_pixels(data: bytes) -> int:
    """Pixels of a tile that a TIFF says it is made of; 0 where there are none."""
    width, height = tiff_tag(data, 0, TIFF_TILE_WIDTH), tiff_tag(data, 0, TIFF_TILE_HEIGHT)
    return width.value * height.value if width and height else 0


def _scan_data(data: bytes) -> int | None:
    """Where the stuffed data of a JPEG's first scan begin."""
    for segment in jpeg_segments(data):
        if segment.kind == START_OF_SCAN:
            return segment.end
    return None


def brand_of(data: bytes) -> str | None:
    """HEIC, AVIF or GIF, whatever the file is called; None for anything else."""
    if data[:4] == b"GIF8":
        return "GIF"
    return BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None


def _orientation(data: bytes) -> Tag | None:
    """The tag in the first directory of the file's EXIF."""
    base = _exif_start(data)
    return None if base is None else tiff_tag(data, base, ORIENTATION)


def tiff_tag(data: bytes, base: int, tag: int) -> Tag | None:
    """A tag of one number in the first directory of the TIFF that begins at `base`."""
    order = TIFF_ORDERS.get(data[base : base + 4])
    if order is None:
        return None
    directory = base + number(data[base + 4 : base + 8], order)
    for index in range(number(data[directory : directory + 2], order)):
        entry = directory + 2 + ENTRY_BYTES * index
        if entry + ENTRY_BYTES > len(data):
            return None
        if number(data[entry : entry + 2], order) == tag:
            size = BYTES_OF_TYPE.get(number(data[entry + 2 : entry + 4], order))
            if size is None:
                return None
            start = entry + 8
            return Tag(number(data[start : start + size], order), start, start + size, order)
    return None


def _exif_start(data: bytes) -> int | None:
    """Where the TIFF header of the file's EXIF stands."""
    if data[:4] in TIFF_ORDERS:
        return 0
    if data[:2] == JPEG:
        for segment in jpeg_segments(data):
            if segment.kind == APP1 and data[segment.start : segment.start + 6] == EXIF:
                return segment.start + 6
        return None
    for segment in _chunks(data):
        if segment.kind in (b"eXIf", b"EXIF"):
            prefixed = data[segment.start : segment.start + 6] == EXIF
            return segment.start + 6 * prefixed
    return None


def jpeg_segments(data: bytes) -> Iterator[_Segment]:
    """Header segments, up to and with the start of scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in NO_LENGTH:
            at += 2
            continue
        end = at + 2 + number(data[at + 2 : at + 4], "big")
        yield _Segment(marker, at + 4, end)
        if marker == START_OF_SCAN:
            return
        at = end


def _chunks(data: bytes) -> Iterator[_Segment]:
    """Chunks of a PNG or a WebP, none of other files."""
    if data[:8] == PNG:
        at, order, check = 8, "big", PNG_CHECK_BYTES
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        at, order, check = 12, "little", 0
    else:
        return
    while at + 8 <= len(data):
        head = data[at : at + 8]
        size, kind = (head[:4], head[4:]) if order == "big" else (head[4:], head[:4])
        end = at + 8 + number(size, order)
        yield _Segment(kind, at + 8, end)
        at = end + (check or end % 2)  # RIFF pads to even


def number(data: bytes, order: str) -> int:
    """An unsigned whole number; order: "little" or "big"."""
    return int.from_bytes(data, "little" if order == "little" else "big")


def _bytes(value: int, size: int, order: str) -> bytes:
    return value.to_bytes(size, "little" if order == "little" else "big")
