"""Recordings as MCAP files (https://mcap.dev/spec), whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import missing_package
from ..files import writing_atomic
from ..geometry.camera import Camera
from ..messages.channel import Channel, encode
from ..messages.estimate import ESTIMATE, estimate_message
from ..messages.foxglove import CALIBRATION, IMAGE, POSE, calibration_message, pose_message
from ..messages.mcap import register
from .channels import CHANNELS, FRAME, SESSION, frame_message, png_message
from .ring import Entry


def write_recording(path: Path, session: dict[str, Any], entries: Iterable[Entry]) -> int:
    """Write entries in their order; how many there were.

    log_time is a frame's capture time, publish_time when it was received, where that is known.
    Raises DiskError, MissingPackageError without `mcap`.
    """
    with writing_atomic(path) as stream:
        recording = _Writer(stream)
        count = -1
        for count, entry in enumerate(entries):
            if count == 0:
                recording.session(session, entry)
            recording.entry(entry, count)
        recording.finish()
    return count + 1


def check_package() -> None:
    """MissingPackageError without `mcap`."""
    try:
        import mcap.writer  # noqa: F401
    except ImportError:
        raise missing_package("mcap", "a recording (MCAP)", "recording") from None


class _Writer:
    """The channels of one file, in which messages lie as they were written."""

    def __init__(self, stream: BinaryIO) -> None:
        check_package()
        from mcap.writer import Writer

        self._file = Writer(stream)
        self._file.start(library="edge_reloc")
        self._ids = register(self._file, CHANNELS)
        self._camera: Camera | None = None

    def session(self, session: dict[str, Any], first: Entry) -> None:
        self._add(SESSION, session, first, 0)

    def entry(self, entry: Entry, number: int) -> None:
        frame = entry.frame
        self._add(FRAME, frame_message(entry, number == 0), entry, number)
        self._add(IMAGE, png_message(frame), entry, number)
        self._add(ESTIMATE, estimate_message(entry.estimate), entry, number)
        if (pose := pose_message(entry.estimate)) is not None:
            self._add(POSE, pose, entry, number)
        if frame.camera is not None and frame.camera != self._camera:
            self._camera = frame.camera
            self._add(CALIBRATION, calibration_message(frame.camera, frame.t_ns), entry, number)

    def finish(self) -> None:
        self._file.finish()  # type: ignore[no-untyped-call]

    def _add(self, channel: Channel, message: dict[str, Any], entry: Entry, number: int) -> None:
        frame = entry.frame
        received_ns = frame.t_ns if frame.received_ns is None else frame.received_ns
        self._file.add_message(
            self._ids[channel.topic],
            max(frame.t_ns, 0),
            encode(message),
            max(received_ns, 0),
            number,
        )
