"""Where frames come from: one protocol, one function that opens any of them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..errors import SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .capture import open_device, open_file, open_gstreamer, open_network, rate_of, upright_turns_of
from .images import ImageSource
from .listing import PHOTO_SUFFIXES, kind_not_read, list_folder, list_glob, names_in_list
from .live import LiveSource, PacedCapture
from .replay import ReplaySource
from .video import VideoSource


class Source(Protocol):
    """Frames, by iterating; photos and videos begin anew each time."""

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

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


def open_source(
    uri: str | int | Path,
    camera: Camera | None = None,
    *,
    names: str | Path | None = None,
    rate_hz: float = 30.0,
    grey: bool = True,
    replay_live: bool = False,
) -> Source:
    """Open a camera, photos, a video, a stream or a pipeline.

    uri: camera index, "camera:N", "/dev/videoN" or "v4l2:///dev/videoN"; a folder
    without those below it, a photo, a glob pattern or a text file of photo names
    (relative to its own folder); a video file; "rtsp://", "http://", "udp://" ...;
    "gst:" and a GStreamer pipeline. camera: calibration, scaled to the frames;
    without one frames have no camera. names: text file of photo names relative to the
    folder `uri`. rate_hz: of photos, which have no time of their own. grey:
    (H,W) frames, otherwise (H,W,3) BGR. replay_live: a video file arrives at
    its own rate and drops late frames, like a camera. "replay:" and photos or a video: held
    in memory, then the same.

    Raises SourceError when no frame can be had, CameraError when the
    calibration has another aspect.
    """
    text = str(uri).strip()
    if text.startswith("replay:"):
        inner = open_source(text[7:], camera, names=names, rate_hz=rate_hz, grey=grey)
        return ReplaySource.of(inner, getattr(inner, "rate_hz", rate_hz))
    if names is not None:
        if not Path(text).is_dir():
            raise SourceError(f"{text}: a list of names needs a folder that they are relative to")
        listed = names_in_list(Path(names), Path(text))
        return ImageSource(Path(text), listed, camera, rate_hz=rate_hz, grey=grey)
    device = re.fullmatch(r"(?:camera:|(?:v4l2://)?/dev/video)(\d+)", text)
    if device or (text.isdigit() and not Path(text).exists()):
        index = int(device.group(1)) if device else int(text)
        width, height = (camera.width, camera.height) if camera else (None, None)
        capture = open_device(index, width, height)
        return LiveSource(capture, f"camera {index}", camera, grey=grey, lost=capture.lost)
    if text.startswith("gst:"):
        capture = open_gstreamer(text.removeprefix("gst:").strip())
        return LiveSource(capture, "gst", camera, grey=grey)
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE) and not text.startswith("file://"):
        capture = open_network(text)
        turns = upright_turns_of(capture)
        return LiveSource(capture, text, camera, grey=grey, upright_turns=turns)
    return _open_path(text.removeprefix("file://"), camera, rate_hz, grey, replay_live)


def _open_path(
    text: str, camera: Camera | None, rate_hz: float, grey: bool, replay_live: bool
) -> Source:
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
    kind = kind_not_read(text)
    if path.suffix.lower() in PHOTO_SUFFIXES or (kind and kind.noun == "photo"):
        return ImageSource(path.parent, [path.name], camera, rate_hz=rate_hz, grey=grey)
    if path.suffix.lower() == ".txt":
        return ImageSource(
            path.parent, names_in_list(path, path.parent), camera, rate_hz=rate_hz, grey=grey
        )
    if replay_live:
        capture = open_file(path)
        paced = PacedCapture(capture, rate_of(capture))
        turns = upright_turns_of(capture)
        return LiveSource(paced, text, camera, grey=grey, upright_turns=turns)
    return VideoSource(path, camera, grey=grey)
