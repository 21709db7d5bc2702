"""The table of addresses: what opens a camera or a stream by how its address begins."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from ..errors import SourceError
from .capture import Capture
from .decoding import have_av
from .options import DEFAULT_RATE_HZ, DEFAULT_SIZE, CameraOptions
from .with_opencv import open_device, open_gstreamer, open_network

#: opens an address without its scheme. grey: (H,W), otherwise (H,W,3) BGR
Opener = Callable[[str, CameraOptions, bool], Capture]
STREAMS = ("rtsp", "rtsps", "http", "https", "rtp", "udp", "tcp", "srt", "rtmp")


def opener_of(address: str, options: CameraOptions, *, grey: bool) -> Callable[[], Capture] | None:
    """What opens an address, as often as it is called; None for a file or a folder.

    Raises SourceError for a scheme that is not known.
    """
    found = re.match(r"(gst):|([a-z][a-z0-9+.-]+)://", address, re.IGNORECASE)
    scheme = (found.group(1) or found.group(2)).lower() if found else "file"
    if found is None or scheme == "file":
        return None
    if scheme in STREAMS:
        return lambda: open_stream(address, grey=grey)
    opener = CAMERAS.get(scheme)
    if opener is None:
        known = " ".join(f"{name}://" for name in (*CAMERAS, *STREAMS, "file") if name != "gst")
        raise SourceError(f"{address}: '{scheme}' is no kind of source; there are {known} and gst:")
    if scheme != "v4l2" and (options.focus is not None or options.hold_focus):
        raise SourceError(f"{address}: a focus can be asked of v4l2:// cameras only")
    rest = address[found.end() :]
    return lambda: opener(rest, options, grey)


def open_stream(url: str, *, grey: bool) -> Capture:
    """By PyAV where it is installed, otherwise by OpenCV, which tells no times."""
    if not have_av():
        return open_network(url)
    from .streams import AvStream

    return AvStream(url, grey=grey)


def csi_pipeline(sensor: int, options: CameraOptions, *, grey: bool) -> str:
    """The GStreamer pipeline of a camera on a Jetson's CSI connector."""
    width, height = options.size or DEFAULT_SIZE
    source = f"nvarguscamerasrc sensor-id={sensor}"
    if options.exposure_ms:
        exposure_ns = round(options.exposure_ms * 1e6)
        source += f' exposuretimerange="{exposure_ns} {exposure_ns}"'
    if options.gain is not None:
        source += f' gainrange="{options.gain:g} {options.gain:g}"'
    rate = Fraction(options.rate_hz or DEFAULT_RATE_HZ).limit_denominator(1001)
    last = "GRAY8" if grey else "BGRx ! videoconvert ! video/x-raw,format=BGR"
    return (
        f"{source} ! video/x-raw(memory:NVMM),width={width},height={height},"
        f"framerate=(fraction){rate.numerator}/{rate.denominator} ! nvvidconv "
        f"! video/x-raw,format={last} ! appsink drop=true max-buffers=1 sync=false"
    )


def _v4l2(path: str, options: CameraOptions, grey: bool) -> Capture:
    if sys.platform != "linux":
        number = re.search(r"\d+$", path)
        return open_device(int(number.group()) if number else 0, options)
    from .v4l2 import V4l2Capture

    return V4l2Capture(Path(path), options, grey=grey)


def _csi(rest: str, options: CameraOptions, grey: bool) -> Capture:
    if not rest.isdigit():
        raise SourceError(f"csi://{rest}: expected the number of the sensor, such as csi://0")
    return open_gstreamer(csi_pipeline(int(rest), options, grey=grey))


def _gstreamer(rest: str, options: CameraOptions, grey: bool) -> Capture:
    return open_gstreamer(rest.strip())


def _oak(rest: str, options: CameraOptions, grey: bool) -> Capture:
    from .oak import OakCapture

    return OakCapture(rest, options, grey=grey)


def _realsense(rest: str, options: CameraOptions, grey: bool) -> Capture:
    from .realsense import RealsenseCapture

    return RealsenseCapture(rest, options, grey=grey)


CAMERAS: dict[str, Opener] = {
    "v4l2": _v4l2,
    "csi": _csi,
    "gst": _gstreamer,
    "oak": _oak,
    "realsense": _realsense,
}
