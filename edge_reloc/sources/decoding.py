"""Frames that PyAV decoded as images and times; the package is loaded when it is first needed."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import cv2
import numpy as np

from ..arrays import U8
from ..errors import SourceError
from .photo_size import MAX_PIXELS

FULL_RANGE = 2  # AVCOL_RANGE_JPEG
#: whose first plane is 8-bit luma
LUMA_FIRST = {"gray", "nv12", "nv21"}
#: luma 16 to 235, as broadcast has it, to 0 to 255, as cameras do
STRETCH: U8 = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


@cache
def have_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


@cache
def av_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises for a file or a stream that fails, or holds no video."""
    from av.error import FFmpegError

    return (FFmpegError, OSError, ValueError, IndexError)


def decoder_about(stream: Any) -> str:
    """Codec, size and rate of a stream of PyAV, in words."""
    rate = f", {float(stream.average_rate):.4g} Hz" if stream.average_rate else ""
    context = stream.codec_context
    return f"{context.width}x{context.height}, {context.name}{rate}"


def pixels_of(frame: Any, *, grey: bool) -> U8:
    """(H,W) grey from the luma plane, or (H,W,3) BGR, of a decoded frame."""
    if not grey:
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    name = frame.format.name
    planar = name.startswith(("yuv4", "yuvj4")) and name[-1] == "p"
    if not planar and name not in LUMA_FIRST:  # of more bits, packed, or no YUV
        return np.asarray(frame.to_ndarray(format="gray"), np.uint8)
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    luma = rows[: frame.height, : frame.width]
    full = frame.color_range == FULL_RANGE or name.startswith("yuvj") or name == "gray"
    return luma.copy() if full else np.asarray(cv2.LUT(luma, STRETCH), np.uint8)


def presented_ns(frame: Any) -> int | None:
    """When a decoded frame is to be shown, by its stream's clock."""
    if frame.pts is None or frame.time_base is None:
        return None
    at_ns: int = round(frame.pts * frame.time_base * 1_000_000_000)
    return at_ns


def turns_of(frame: Any) -> int:
    """Counter-clockwise quarter turns that its display matrix asks for, 0 to 3."""
    return int(round(frame.rotation / 90) % 4)


def refuse_giants(stream: Any, name: str) -> None:
    """SourceError for frames that no camera has, before one is decoded."""
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise SourceError(
            f"{name}: frames of {context.width}x{context.height} pixels by its header, expected "
            f"at most {MAX_PIXELS / 1e6:.0f} million"
        )
