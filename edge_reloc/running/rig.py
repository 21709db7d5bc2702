"""Several cameras that are fixed to one body: one map, poses of each and of the body."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ..arrays import F64
from ..command_line.program import INTERRUPTED, ending_signals
from ..errors import ConfigError, one_line
from ..files import read_small
from ..geometry.rigid import RIGID, rigid
from ..recording.recorder import make_folder
from ..sinks import open_sink
from ..sinks.background import BackgroundSinks
from ..sinks.of_camera import OfCamera
from ..structs import Frame, Localization
from ..tiles.tiled_bundle import open_map
from .budget import Row, libraries_bytes
from .flight import on_signal
from .pipeline import Localizes
from .session import Session
from .session_memory import sink_rows
from .session_options import SessionOptions
from .statistics import RunSummary

log = logging.getLogger(__name__)

MOST_CAMERAS = 16
TELL_CAMERAS = (".jsonl", "-", "udp:")  # how addresses of such sinks end, or begin
FILE_NAME = r"[\w-]{1,64}"
OTHERS = "other cameras"  # in the plan of memory
KNOWN = {"name", "source", "calibration", "body_from_cam"}


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class RigCamera:
    """One camera of a rig."""

    name: str
    #: as `open_source` takes it
    source: str
    #: camera file, None for the map's only mapping camera
    calibration: Path | None
    #: (4,4) metres of the map, None where nobody measured it
    body_from_cam: F64 | None


def read_rig(path: Path) -> tuple[RigCamera, ...]:
    """Cameras of a rig file; files in it are relative to its folder. Raises ConfigError."""
    try:
        values = json.loads(read_small(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a rig file (JSON expected): {error}") from None
    listed = values.get("cameras") if isinstance(values, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_CAMERAS or len(values) > 1:
        raise ConfigError(
            f'{path}: expected {{"cameras": [...]}} with one to {MOST_CAMERAS} objects that have '
            f"name, source, and if known calibration and body_from_cam"
        )
    cameras = tuple(_camera(path, number, camera) for number, camera in enumerate(listed, 1))
    names = [camera.name for camera in cameras]
    unfit = next((name for name in names if not re.fullmatch(FILE_NAME, name)), None)
    if unfit is not None:
        raise ConfigError(
            f"{path}: name: found '{one_line(unfit)}', expected letters, digits, '_' and '-': "
            f"files are named by it"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: two cameras have the same name; found {', '.join(names)}")
    return cameras


def _camera(path: Path, number: int, values: Any) -> RigCamera:
    where = f"{path}: camera {number}"
    if not isinstance(values, dict) or not {"name", "source"} <= set(values) <= KNOWN:
        raise ConfigError(f"{where}: expected an object with name and source, and {sorted(KNOWN)}")
    for key in KNOWN - {"body_from_cam"}:
        if not isinstance(values.get(key, "x"), str) or not values.get(key, "x"):
            raise ConfigError(f"{where}: {key}: found {values[key]!r}, expected text")
    source, calibration = values["source"], values.get("calibration")
    if os.path.exists(path.parent / source):  # Path.exists raises for a name that is too long
        source = str(path.parent / source)
    given = values.get("body_from_cam")
    return RigCamera(
        name=values["name"],
        source=source,
        calibration=None if calibration is None else path.parent / calibration,
        body_from_cam=None if given is None else _motion(f"{where}: body_from_cam", given),
    )


def _motion(where: str, values: Any) -> F64:
    """(4,4) rotation and translation; ConfigError for anything else."""
    motion = rigid(values)
    if motion is None:
        raise ConfigError(f"{where}: expected {RIGID}, that take points of the camera to the body")
    return motion


class Rig:
    """Context manager. A localiser for each camera; they work in turns, frames wait apart.

    options: of all, but for source and calibration. Opening raises EdgeRelocError and leaves
    nothing open.
    """

    def __init__(self, options: SessionOptions, cameras: tuple[RigCamera, ...]) -> None:
        self._cameras = cameras
        bundle = open_map(options.map, require_signed=options.require_signed)
        held = None if options.budget_bytes is None else libraries_bytes()
        sinks, others = sink_rows(options.output), tuple[Row, ...]()
        with contextlib.ExitStack() as stack:
            self.sessions: dict[str, Session] = {}
            for camera in cameras:
                own = options_of(options, camera, len(cameras))
                own = replace(own, beside=(*sinks, *others), held_bytes=held)
                session = stack.enter_context(Session(own, bundle))
                self.sessions[camera.name] = session
                if session.footprint is not None:
                    again = session.footprint.of_a_further_one
                    others = tuple(replace(r, kind=OTHERS) for r in again if r.kind != "sinks")
            live = any(session.source.live for session in self.sessions.values())
            self._sinks = BackgroundSinks(live=live)
            stack.callback(self._sinks.close)
            for address in options.output:
                if not address.endswith(TELL_CAMERAS) and not address.startswith(TELL_CAMERAS):
                    raise ConfigError(
                        f"{address}: poses of several cameras go where whose each is can be told: "
                        f"{', '.join(TELL_CAMERAS)}"
                    )
                first = next(iter(self.sessions.values()))
                self._sinks.add(open_sink(address, first.facts(camera=None)), address)
            self._stack = stack.pop_all()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def headline(self) -> str:
        """What is about to run."""
        return "\n".join(f"[{name}]\n{s.headline()}" for name, s in self.sessions.items())

    def run(self, status_out: TextIO) -> None:
        """Localise until all sources end, or Ctrl-C. Raises the first error, when all ended."""
        turns, stop, errors = Turns(), threading.Event(), list[Exception]()

        def one(camera: RigCamera, session: Session) -> None:
            out = Prefixed(status_out, camera.name)
            mount = camera.body_from_cam
            if mount is None:
                mount = session.camera.mount
            try:
                session.run(
                    out,
                    sinks=[OfCamera(self._sinks, camera.name, mount)],
                    localizer=InTurn(session.localizer, turns),
                    stop=stop,
                )
            except Exception as error:  # raised below
                errors.append(error)
                log.warning("camera %s ended: %s", camera.name, error)

        threads = [
            threading.Thread(target=one, args=(camera, self.sessions[camera.name]), daemon=True)
            for camera in self._cameras
        ]
        with _stopped_by_signals(stop), on_signal(signal.SIGUSR1, self._record):
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) and not stop.wait(0.1):
                pass
            if stop.is_set():
                for session in self.sessions.values():
                    if session.source.live:  # whoever waits for a frame waits no more
                        session.source.close()
            for thread in threads:
                thread.join()
        self._sinks.drain()
        if errors:
            raise errors[0]
        self._sinks.check()

    def _record(self) -> None:
        for session in self.sessions.values():
            session.record("signal")

    def write_pictures(self) -> None:
        """One a camera, where one was asked for. Raises DiskError."""
        for session in self.sessions.values():
            session.write_picture()

    def summaries(self) -> dict[str, RunSummary]:
        """The run so far, by camera."""
        unwritten, left_out = self._sinks.dropped(), self._sinks.left_out()
        return {
            name: replace(session.summary(), unwritten=unwritten, left_out=left_out)
            for name, session in self.sessions.items()
        }


def options_of(options: SessionOptions, camera: RigCamera, cameras: int) -> SessionOptions:
    """Those of one camera of so many: files of its own, its share of the recorder's memory."""
    recorder, picture = options.recorder, options.picture
    if recorder is not None:
        make_folder(recorder.folder)
        recorder = replace(
            recorder,
            folder=recorder.folder / camera.name,
            most_bytes=recorder.most_bytes // cameras,
        )
    if picture is not None:
        picture = picture.with_stem(f"{picture.stem}_{camera.name}")
    return replace(
        options,
        source=camera.source,
        calibration=camera.calibration,
        # What keeps libraries from starting threads holds for one frame at a time.
        settings=replace(options.settings, in_flight=1),
        output=(),
        recorder=recorder,
        picture=picture,
    )


class Turns:
    """A lock that those who wait get in the order in which they came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = self._served = 0

    @contextlib.contextmanager
    def mine(self) -> Iterator[None]:
        with self._changed:
            number, self._given = self._given, self._given + 1
            self._changed.wait_for(lambda: self._served == number)
        try:
            yield
        finally:
            with self._changed:
                self._served += 1
                self._changed.notify_all()


class InTurn:
    """A localiser that waits for its turn among several."""

    def __init__(self, localizer: Localizes, turns: Turns) -> None:
        self._localizer, self._turns = localizer, turns

    def localize(self, image: Frame) -> Localization:
        """Never raises for what a camera shows."""
        with self._turns.mine():
            return self._localizer.localize(image)

    def verify(self) -> None:
        """After the others that wait."""
        with self._turns.mine():
            self._localizer.verify()


class Prefixed:
    """Lines of a status, each with the name of its camera, and none on a terminal's one line."""

    def __init__(self, out: TextIO, name: str) -> None:
        self._out, self._name = out, name

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        return self._out.write(f"{self._name}: {text}")

    def flush(self) -> None:
        self._out.flush()


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """While it is open, what would end the program sets the event."""

    def asked(*_: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)  # a second one does not wait
        stop.set()

    before = {kind: signal.signal(kind, asked) for kind in ending_signals()}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
