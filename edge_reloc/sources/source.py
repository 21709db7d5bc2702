"""Where frames come from: one protocol, one function that opens any of them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ..errors import SourceError
from ..geometry.camera import Camera
from ..reasons import Fault
from ..structs import Frame
from .capture import name_of
from .images import ImageSource
from .listing import PHOTO_SUFFIXES, kind_not_read, list_folder, list_glob, names_in_list
from .live import LiveSource
from .options import CameraOptions
from .paced import ReplaySource
from .recording import RecordingSource
from .schemes import opener_of
from .video import VideoSource


class Source(Protocol):
    """Frames, by iterating or by waiting; photos and videos begin anew each time."""

    @property
    def live(self) -> bool:
        """Frames arrive by themselves, and late ones are dropped, never queued."""

    #: Of the first frame, pixels.
    width: int
    height: int
    #: Frames lost to be timely.
    dropped: int
    #: Inputs that cannot be read, one line each; complete when iteration has ended.
    skipped: list[str]

    @property
    def about(self) -> str:
        """Device or file, size, rate, format and clock, as they were really opened."""

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the stream as a whole now, None when it is well."""

    @property
    def ended(self) -> bool:
        """No frame will come any more."""

    def __iter__(self) -> Iterator[Frame]: ...

    def wait(self, timeout_s: float) -> Frame | None:
        """The newest frame; None when none came in time (see `fault`), or at the end.

        Of photos and videos the next frame, at once.
        """

    def close(self) -> None: ...


def open_source(
    uri: str | int | Path,
    camera: Camera | None = None,
    *,
    names: str | Path | None = None,
    rate_hz: float = 30.0,
    grey: bool = True,
    options: CameraOptions | None = None,
    exit_on_end: bool = False,
) -> Source:
    """Open a camera, photos, a video, a stream or a pipeline.

    uri: a camera by index, "/dev/videoN", "v4l2:///dev/videoN", "csi://N", "oak://",
    "realsense://"; a stream by "rtsp://", "http://", "rtp://", "udp://" and their like; "gst:"
    and a GStreamer pipeline; a folder without those below it, a photo, a glob pattern or a text
    file of photo names (relative to its own folder); a video file; a flight recording (.mcap),
    whose frames keep their times and, without `camera`, their cameras. camera: calibration,
    scaled to the frames; without one frames have no camera. names: text file of photo names
    relative to the folder `uri`. rate_hz: of photos, which have no time of their own. grey:
    (H,W) frames, otherwise (H,W,3) BGR. "replay:" and photos, a video or a recording: they
    arrive at their times, and late ones are dropped, like a camera's. options: asked of a
    camera. exit_on_end: a camera or stream that goes away is the end, instead of opened again.

    Raises SourceError when no frame can be had, CameraError when the
    calibration has another aspect.
    """
    text = str(uri).strip()
    if text.startswith("replay:"):
        inner = open_source(text[7:], camera, names=names, rate_hz=rate_hz, grey=grey)
        if inner.live:
            inner.close()
            raise SourceError(f"{text}: its frames arrive by themselves; leave 'replay:' out")
        return ReplaySource(inner)
    if names is not None:
        if not Path(text).is_dir():
            raise SourceError(f"{text}: a list of names needs a folder that they are relative to")
        listed = names_in_list(Path(names), Path(text))
        return ImageSource(Path(text), listed, camera, rate_hz=rate_hz, grey=grey)
    text = _address_of(text)
    options = options or CameraOptions()
    asked = options
    if camera and options.size is None:
        asked = replace(options, size=(camera.width, camera.height))
    opener = opener_of(text, asked, grey=grey)
    if opener is not None:
        return LiveSource(opener, name_of(text), camera, grey=grey, exit_on_end=exit_on_end)
    if options.asked:
        raise SourceError(
            f"{text}: size, rate, format, exposure, gain and focus are asked of a camera, and this "
            f"is none"
        )
    return _open_path(text.removeprefix("file://"), camera, rate_hz, grey)


def _address_of(text: str) -> str:
    """As one of the schemes, where a camera is named in short."""
    device = re.fullmatch(r"(?:camera:|/dev/video)(\d+)", text)
    if device or (text.isdigit() and not Path(text).exists()):
        return f"v4l2:///dev/video{int(device.group(1)) if device else int(text)}"
    return f"v4l2://{text}" if text.startswith("/dev/v4l/") else text


def _open_path(text: str, camera: Camera | None, rate_hz: float, grey: bool) -> Source:
    path = Path(text)
    if path.is_dir():
        found = list_folder(path)
        return ImageSource(
            path, found.photos, camera, rate_hz=rate_hz, grey=grey, others=found.others
        )
    if not path.exists():
        if glob.has_magic(text):
            base, found = list_glob(text)
            return ImageSource(
                base, found.photos, camera, rate_hz=rate_hz, grey=grey, others=found.others
            )
        raise SourceError(
            f"{text}: no such file or folder; expected a folder, a glob pattern, a list (.txt), a "
            f"video, an address such as rtsp://host/stream, 'camera:N' or 'gst:PIPELINE'"
        )
    if path.suffix.lower() == ".mcap":
        return RecordingSource(path, camera)
    kind = kind_not_read(text)
    if path.suffix.lower() in PHOTO_SUFFIXES or (kind and kind.noun == "photo"):
        return ImageSource(path.parent, [path.name], camera, rate_hz=rate_hz, grey=grey)
    if path.suffix.lower() == ".txt":
        return ImageSource(
            path.parent, names_in_list(path, path.parent), camera, rate_hz=rate_hz, grey=grey
        )
    return VideoSource(path, camera, grey=grey)
