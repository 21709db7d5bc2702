"""Opening an OpenCV capture, or one line that says what is missing."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path
from typing import Any

import cv2

from ..errors import SourceError
from .photo_size import MAX_PIXELS
from .queued import BUFFERS, QueuedCapture

NETWORK_TIMEOUT_MS = 5000  # to open, and then between frames
FALLBACK_RATE_HZ = 30.0  # for a file that does not tell its rate
_LOG: Any = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # 4.x or 5


def open_device(index: int, width: int | None, height: int | None) -> QueuedCapture:
    """Capture of camera `index`, asked for width x height when given."""
    path = Path(f"/dev/video{index}")
    if sys.platform == "linux" and not path.exists():
        raise SourceError(f"camera {index}: {path} does not exist; {_cameras_present()}")
    capture = _open(index)
    if capture is None:
        raise SourceError(
            f"camera {index}: it is there but cannot be opened (in use by another program, no "
            f"permission, or {path} is not its picture); {_cameras_present()}"
        )
    if width and height:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
    return QueuedCapture(capture, float(capture.get(cv2.CAP_PROP_FPS)))


def open_network(url: str) -> Any:
    """Capture of a network stream that answers in time."""
    timeouts = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
    ]
    capture = _open(url, cv2.CAP_FFMPEG, timeouts)
    if capture is None:
        raise SourceError(
            f"{url}: no video stream answered within {NETWORK_TIMEOUT_MS // 1000} s; check that "
            f"the address plays elsewhere and that this machine can reach it"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def open_gstreamer(pipeline: str) -> Any:
    """Capture of a GStreamer pipeline that ends in an appsink."""
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
    return capture


def open_file(path: Path) -> Any:
    """Capture of a video file, rows and columns as the sensor recorded them."""
    if not path.is_file():
        raise SourceError(f"{path}: no such video file")
    capture = _open(str(path))
    if capture is None:
        raise SourceError(
            f"{path}: not a video that OpenCV can play; convert it: "
            f"ffmpeg -i {path.name} -c:v libx264 video.mp4"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def rate_of(capture: Any) -> float:
    """Nominal frames a second of a video file."""
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return rate_hz if 0 < rate_hz < 1000 else FALLBACK_RATE_HZ


def upright_turns_of(capture: Any) -> int:
    """Counter-clockwise quarter turns that a video's rotation flag asks for, 0 to 3."""
    clockwise_deg = float(capture.get(cv2.CAP_PROP_ORIENTATION_META))
    return round(-clockwise_deg / 90) % 4


def _cameras_present() -> str:
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
    # A name that is not UTF-8 ends the process as text, and is only a name as bytes.
    named: Any = os.fsencode(source) if isinstance(source, str) else source
    try:
        capture = cv2.VideoCapture(named, *how)
        if not capture.isOpened():
            return None
        _check_size(capture, str(source))
        return capture
    finally:
        _LOG.setLogLevel(before)
