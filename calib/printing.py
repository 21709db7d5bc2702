"""A board as a PNG that prints at its true size."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from edge_reloc.files import write_atomic

from .boards import Board

INCH_M = 0.0254
PAPERS_MM = {"A4": (297, 210), "A3": (420, 297), "A2": (594, 420), "A1": (841, 594)}


def write_board(path: str | Path, board: Board, dpi: int = 300) -> str:
    """Write the board with a white margin; one line about size and paper.

    The file carries its own resolution, chosen so that whole pixels make a
    square exactly: printed at 100 % a square measures `square_m`.
    """
    square_px = max(8, round(board.square_m / INCH_M * dpi))
    margin_px = max(square_px // 2, 24)
    image = cv2.copyMakeBorder(
        board.draw(square_px), *(margin_px,) * 4, cv2.BORDER_CONSTANT, value=255
    )
    scale = margin_px / 80
    at = (margin_px, image.shape[0] - margin_px // 4)
    cv2.putText(image, board.text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 90, max(1, round(scale)))
    ok, png = cv2.imencode(".png", image)
    assert ok
    pixels_per_m = square_px / board.square_m
    write_atomic(path, _with_resolution(np.asarray(png).tobytes(), pixels_per_m))
    height_mm, width_mm = (side / pixels_per_m * 1000 for side in image.shape)
    return (
        f"{path}: {width_mm:.0f} x {height_mm:.0f} mm with margin ({_paper(width_mm, height_mm)}); "
        f"print at 100 %, glue it on something flat, measure a square and pass that size"
    )


def _paper(width_mm: float, height_mm: float) -> str:
    long_mm, short_mm = max(width_mm, height_mm), min(width_mm, height_mm)
    for name, (paper_long, paper_short) in PAPERS_MM.items():
        if long_mm <= paper_long and short_mm <= paper_short:
            return f"fits {name}"
    return "larger than A1"


def _with_resolution(png: bytes, pixels_per_m: float) -> bytes:
    """The PNG with a pHYs chunk right after its header chunk (PNG 1.2, 4.2.4.2)."""
    body = b"pHYs" + struct.pack(">IIB", round(pixels_per_m), round(pixels_per_m), 1)
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    header_end = 8 + 25  # signature, then IHDR with length, name, 13 bytes and checksum
    return png[:header_end] + chunk + png[header_end:]
