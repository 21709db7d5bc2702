"""Opening an OpenCV capture, or one line that says what is missing."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

from ..errors import SourceError

NETWORK_TIMEOUT_MS = 5000  # to open, and then between frames
_LOG: Any = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # 4.x or 5


def open_device(index: int, width: int | None, height: int | None) -> Any:
    """Capture of camera `index`, asked for width x height when given."""
    path = Path(f"/dev/video{index}")
    if sys.platform == "linux" and not path.exists():
        raise SourceError(f"camera {index}: {path} does not exist; {_cameras_present()}")
    with _quiet_opencv():
        capture = cv2.VideoCapture(index)
        opened = capture.isOpened()
    if not opened:
        raise SourceError(
            f"camera {index}: it is there but cannot be opened (in use by another program, no "
            f"permission, or {path} is not its picture); {_cameras_present()}"
        )
    if width and height:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def open_network(url: str) -> Any:
    """Capture of a network stream."""
    timeouts = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
    ]
    with _quiet_opencv():
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)
        opened = capture.isOpened()
    if not opened:
        raise SourceError(
            f"{url}: no video stream answered within {NETWORK_TIMEOUT_MS // 1000} s; check that "
            f"the address plays elsewhere and that this machine can reach it"
        )
    return capture


def open_gstreamer(pipeline: str) -> Any:
    """Capture of a GStreamer pipeline that ends in an appsink."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            "gst: this OpenCV has no GStreamer (the packages from the Python index never have); "
            "use the OpenCV that JetPack brings, or build one with -D WITH_GSTREAMER=ON"
        )
    with _quiet_opencv():
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        opened = capture.isOpened()
    if not opened:
        raise SourceError(
            f"gst: the pipeline does not start: {pipeline}; try it with gst-launch-1.0, and end it "
            f"with '! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1'"
        )
    return capture


def open_file(path: Path) -> Any:
    """Capture of a video file, rows and columns as the sensor recorded them."""
    if not path.is_file():
        raise SourceError(f"{path}: no such video file")
    with _quiet_opencv():
        capture = cv2.VideoCapture(str(path))
        opened = capture.isOpened()
    if not opened:
        raise SourceError(
            f"{path}: not a video that OpenCV can play; convert it: "
            f"ffmpeg -i {path.name} -c:v libx264 video.mp4"
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return capture


def _cameras_present() -> str:
    present = sorted(glob.glob("/dev/video*"))
    if present:
        return f"cameras present: {' '.join(present)}"
    return "no /dev/video* is present: plug a camera in, or use --source with photos or a video"


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's log: a failure is reported by us, in one line."""
    before = _LOG.getLogLevel()
    _LOG.setLogLevel(0)
    try:
        yield
    finally:
        _LOG.setLogLevel(before)
