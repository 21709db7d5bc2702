"""Cameras, streams and pipelines by OpenCV, or one line that says what is missing.

OpenCV tells no times worth having of what is live: its frames have those of their arrival.
"""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..arrays import U8
from ..command_line.terminal import silent_decoders
from ..errors import SourceError
from .capture import Shot, name_of
from .options import CameraOptions
from .photo_size import MAX_PIXELS
from .queued import BUFFERS, QueuedCapture

NETWORK_TIMEOUT_MS = 5000  # to open, and then between frames
FALLBACK_RATE_HZ = 30.0  # for a file that does not tell its rate
_LOG: Any = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # 4.x or 5


class OpenCvCapture:
    """What `cv2.VideoCapture` or a `QueuedCapture` gives, stamped with its arrival."""

    clock = "arrival"

    def __init__(self, capture: Any, about: str, upright_turns: int = 0) -> None:
        self._capture, self.about, self._turns = capture, about, upright_turns

    def read(self) -> Shot | None:
        """The next frame, None when there is none; what cannot be decoded is passed over."""
        lost = 0
        while self._capture.grab():
            t_ns = time.monotonic_ns()
            if isinstance(self._capture, QueuedCapture):
                lost += self._capture.lost()
            with silent_decoders():
                ok, image = self._capture.retrieve()
            if ok and image is not None:
                pixels: U8 = np.asarray(image, np.uint8)
                return Shot(
                    image=pixels,
                    stamp_ns=t_ns,
                    received_ns=t_ns,
                    lost=lost,
                    upright_turns=self._turns,
                )
            lost += 1
        return None

    def release(self) -> None:
        """Close it."""
        self._capture.release()


def open_device(index: int, options: CameraOptions) -> OpenCvCapture:
    """Camera `index`, asked for what `options` say."""
    path = Path(f"/dev/video{index}")
    capture = _open(index)
    if capture is None:
        raise SourceError(
            f"camera {index}: it cannot be opened (not there, in use by another program, no "
            f"permission, or {path} is not its picture); {cameras_present()}"
        )
    if options.pixel_format:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*options.pixel_format.ljust(4)))
    if options.size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
    if options.rate_hz:
        capture.set(cv2.CAP_PROP_FPS, options.rate_hz)
    if options.exposure_ms:
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # manual, of V4L2
        capture.set(cv2.CAP_PROP_EXPOSURE, 10 * options.exposure_ms)
    if options.gain is not None:
        capture.set(cv2.CAP_PROP_GAIN, options.gain)
    if options.hold_focus or options.focus is not None:
        capture.set(cv2.CAP_PROP_AUTOFOCUS, 0)
    if options.focus is not None:
        capture.set(cv2.CAP_PROP_FOCUS, options.focus)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    width, height = size_of(capture)
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
    about = f"{width}x{height} {code.strip()}, {rate_hz:g} Hz, by OpenCV"
    return OpenCvCapture(QueuedCapture(capture, rate_hz), about)


def open_network(url: str) -> OpenCvCapture:
    """A network stream that answers in time."""
    timeouts = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
    ]
    capture = _open(url, cv2.CAP_FFMPEG, timeouts)
    if capture is None:
        raise SourceError(
            f"{name_of(url)}: no video stream answered within {NETWORK_TIMEOUT_MS // 1000} s; "
            f"check that the address plays elsewhere and that this machine can reach it"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    width, height = size_of(capture)
    return OpenCvCapture(capture, f"{width}x{height}, decoded by OpenCV", upright_turns_of(capture))


def open_gstreamer(pipeline: str) -> OpenCvCapture:
    """A GStreamer pipeline that ends in an appsink."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            "gst: this OpenCV has no GStreamer (the packages from the Python index never have); "
            "use the OpenCV that JetPack brings, or build one with -D WITH_GSTREAMER=ON"
        )
    capture = _open(pipeline, cv2.CAP_GSTREAMER)
    if capture is None:
        raise SourceError(
            f"gst: the pipeline does not start: {pipeline}; try it with gst-launch-1.0, and end it "
            f"with '! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1'"
        )
    width, height = size_of(capture)
    return OpenCvCapture(capture, f"{width}x{height} by GStreamer")


def open_file(path: Path) -> Any:
    """Capture of a video file, rows and columns as the sensor recorded them."""
    if not path.is_file():
        raise SourceError(f"{path}: no such video file")
    capture = _open(str(path))
    if capture is None:
        raise SourceError(
            f"{path}: not a video that can be played; convert it: "
            f"ffmpeg -i {path.name} -c:v libx264 video.mp4"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def rate_of(capture: Any) -> float:
    """Nominal frames a second of a video file."""
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return rate_hz if 0 < rate_hz < 1000 else FALLBACK_RATE_HZ


def size_of(capture: Any) -> tuple[int, int]:
    """(width, height) of its frames."""
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    return int(width), int(height)


def upright_turns_of(capture: Any) -> int:
    """Counter-clockwise quarter turns that a video's rotation flag asks for, 0 to 3."""
    clockwise_deg = float(capture.get(cv2.CAP_PROP_ORIENTATION_META))
    return round(-clockwise_deg / 90) % 4


def cameras_present() -> str:
    """Which there are, in words."""
    present = sorted(glob.glob("/dev/video*"))
    if present:
        return f"cameras present: {' '.join(present)}"
    return "no /dev/video* is present: plug a camera in, or use --source with photos or a video"


def _check_size(capture: Any, name: str) -> None:
    """SourceError for frames that no camera has, before one is decoded."""
    width = float(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = float(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise SourceError(
            f"{name}: frames of {width:.0f}x{height:.0f} pixels by its header, expected at most "
            f"{MAX_PIXELS / 1e6:.0f} million"
        )


def _open(source: int | str, *how: Any) -> Any:
    """A capture or None, with OpenCV's log silent: a failure is one line."""
    before = _LOG.getLogLevel()
    _LOG.setLogLevel(0)
    # A name that is not UTF-8 ends the process as text; OpenCV before 4.7 takes no bytes at all.
    named: Any = source
    if isinstance(source, str) and not source.isascii():
        named = os.fsencode(source)
    try:
        capture = cv2.VideoCapture(named, *how)
        if not capture.isOpened():
            return None
        _check_size(capture, name_of(str(source)))
        return capture
    finally:
        _LOG.setLogLevel(before)
