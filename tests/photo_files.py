"""Photo and video files as phones write them: EXIF, rotation flags, uneven rates."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np

ORIENTATIONS = range(1, 9)
#: counter-clockwise turns of each EXIF orientation, mirrored ones by the edge that is on top
TURNS = {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}


def write_photo(path: Path, image: np.ndarray, orientation: int | None = None) -> None:
    """Pixels as they are, with an EXIF orientation; JPEG, PNG, WebP or TIFF by suffix."""
    from PIL import Image

    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    rgb = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    stream = io.BytesIO()
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}
    options = {".jpg": {"quality": 95}, ".webp": {"lossless": True}}.get(path.suffix, {})
    Image.fromarray(rgb).save(stream, formats[path.suffix], exif=exif, **options)
    path.write_bytes(stream.getvalue())


def write_video(path: Path, images: list[np.ndarray], rate_hz: float, code: str = "mp4v") -> None:
    """A video of BGR images."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate_hz, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()


def flag_rotation(path: Path, clockwise_deg: int) -> None:
    """Sets the rotation flag of an MP4: the matrix in its track header."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise_deg]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of version 0: flags, times, ids, layer, volume
    data[at : at + 36] = matrix
    path.write_bytes(data)


def hold_last_frame(path: Path, times: int) -> None:
    """Makes an MP4's last frame last so many frames: the rate is uneven from there."""
    data = path.read_bytes()
    at = data.index(b"stts") + 4
    entries, count, delta = struct.unpack(">III", data[at + 4 : at + 16])
    assert entries == 1
    table = struct.pack(">IIIII", 2, count - 1, delta, 1, delta * times)
    grown = bytearray(data[: at + 4] + table + data[at + 16 :])
    for box in (b"stts", b"stbl", b"minf", b"mdia", b"trak", b"moov"):  # after the frames
        start = data.index(box) - 4
        size = struct.unpack(">I", data[start : start + 4])[0]
        grown[start : start + 4] = struct.pack(">I", size + 8)
    longer = struct.unpack(">I", grown[grown.index(b"mdhd") + 20 : grown.index(b"mdhd") + 24])[0]
    where = grown.index(b"mdhd") + 20
    grown[where : where + 4] = struct.pack(">I", longer + delta * (times - 1))
    path.write_bytes(grown)


def begin_at(path: Path, frame: int) -> None:
    """Has an MP4's edit list leave out what comes before a frame."""
    data = bytearray(path.read_bytes())
    stts = data.index(b"stts") + 4
    delta = struct.unpack(">I", data[stts + 12 : stts + 16])[0]
    at = data.index(b"elst") + 4
    version = data[at]
    field = ">q" if version else ">i"
    start = at + 8 + struct.calcsize(field)  # after the duration
    data[start : start + struct.calcsize(field)] = struct.pack(field, frame * delta)
    path.write_bytes(data)
