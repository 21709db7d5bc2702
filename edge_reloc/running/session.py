"""A localiser with its source and sinks: opened, run and closed together."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import F64
from ..bundle import MapBundle
from ..bundle.mapping_cameras import fitting_camera, mapping_cameras, only_camera, unlike_mapping
from ..errors import ConfigError, one_line
from ..geometry.camera import Camera, read_camera
from ..inference.acceleration import choose_acceleration
from ..localizer import Localizer
from ..memory.process import read_memory
from ..methods import Settings
from ..recording.recorder import FlightRecorder
from ..recording.ring import Ring, notes_bytes, ring_bytes
from ..reference.truth import TruthComparison, TruthSummary, read_truth
from ..sinks import Sink, open_sink
from ..sinks.advice import Advice
from ..sinks.background import BackgroundSinks
from ..sinks.facts import RunFacts
from ..sinks.look import take_look
from ..sinks.of_camera import OfCamera
from ..sinks.opening import queue_bytes
from ..sources import Source, open_source
from ..sources.options import CameraOptions
from ..sources.recording import RecordingSource
from ..sources.video import VideoSource
from ..structs import Frame, Localization
from ..tiles.any_map import open_on
from ..tiles.tiled_bundle import open_map
from ..tiles.tiled_localizer import TiledLocalizer
from .budget import MIB, Footprint, Row, Rows, check_budget, fit_budget
from .loop import Between, run
from .picture import RunPicture
from .pipeline import Localizes
from .replay import Replay, Resumption, session_message
from .statistics import RunStatistics, RunSummary
from .status_line import StatusLine, StatusOut
from .supervisor import Supervisor, metre_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RecorderOptions:
    """What a flight recorder keeps, and where it writes it."""

    folder: Path
    #: of the stream, as far as `most_bytes` go
    seconds: float = 20.0
    #: of pixels
    most_bytes: int = 256 << 20
    #: also when the run ends well
    at_end: bool = False


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What to run."""

    map: Path
    #: as `open_source` takes it
    source: str
    settings: Settings
    #: list of photos in the source
    names: Path | None = None
    #: camera file, None for the map's only mapping camera
    calibration: Path | None = None
    #: addresses, as `open_sink` takes them
    output: tuple[str, ...] = ()
    #: (4,4) body from camera; None: as the camera file says
    mount: F64 | None = None
    picture: Path | None = None
    #: folder of a COLMAP model to compare with, by frame name
    truth: Path | None = None
    #: frames
    limit: int | None = None
    #: host memory of the process
    budget_bytes: int | None = None
    #: lower limits to keep the budget
    fit: bool = False
    #: planned in the same process beside it
    beside: Rows = ()
    #: that the process held before any of that was taken, None to measure it now
    held_bytes: int | None = None
    #: file of the public key whose holder must have signed the map
    require_signed: Path | None = None
    #: whether a state machine watches over the poses; None: over those of streams and videos
    states: bool | None = None
    #: give out the filter's poses instead of the measured ones
    filtered: bool = False
    #: poses given out between frames
    between: Between | None = None
    #: None: nothing is recorded
    recorder: RecorderOptions | None = None
    #: `source` is this recording
    replay: Replay | None = None
    #: asked of the camera
    camera_options: CameraOptions | None = None
    #: a camera or stream that goes away ends the run, instead of being opened again
    exit_on_end: bool = False
    #: called after every frame, and often while there is none
    alive: Callable[[], None] = lambda: None


class Session:
    """Context manager. Opening raises EdgeRelocError and leaves nothing open."""

    def __init__(self, options: SessionOptions, bundle: MapBundle | None = None) -> None:
        self.options = options
        if bundle is None:
            bundle = open_map(options.map, require_signed=options.require_signed)
        self.bundle = bundle
        world = self.bundle.manifest.world
        grade = self.bundle.manifest.statistics.get("grade")
        if isinstance(grade, dict) and grade.get("verdict") not in (None, "good"):
            log.warning("the map's reconstruction is %s: see 'inspect'", grade["verdict"])
        self._unit = "m" if world.metric else "units"
        self._advice = Advice()
        if options.replay is not None:
            options.replay.check_map(self.bundle)
        with contextlib.ExitStack() as stack:
            self._calibration, self._camera_note = _calibration(options, self.bundle)
            calibration = self._calibration
            self.source = self._open_source()
            stack.callback(lambda: self.source.close())
            if self.source.live and options.calibration is None:
                log.warning(
                    "no --calibration was given: a camera of the mapping photos stands for this "
                    "one, and poses are as wrong as it is another; calibrate it with "
                    "'edge-reloc calibrate'"
                )
            if options.mount is not None:
                calibration = calibration.mounted(options.mount)
            self.camera = calibration
            if not self._as_recorded:
                self.camera = calibration.scaled_to(self.source.width, self.source.height)
            settings, self._fitted = self._within_budget()
            self.localizer = open_on(self.bundle, self.camera, settings)
            stack.callback(self.localizer.close)
            self._supervisor = self._open_supervisor()
            self._resumption: Resumption | None = None
            if options.replay is not None and isinstance(self.source, RecordingSource):
                self._resumption = Resumption(options.replay.path, self._resume)
                self.source.resume = self._resumption.expect
                options.replay.check_machine(self.localizer)
            self._picture = None
            if options.picture is not None:
                gravity = None if world.gravity is None else np.array(world.gravity)
                xyz = self.localizer.overview
                labels = self.localizer.point_labels
                self._picture = RunPicture(options.picture, xyz, gravity, self._unit, labels)
            self._truth = options.truth and TruthComparison(read_truth(options.truth))
            self._sinks = BackgroundSinks(live=self.source.live)
            stack.callback(self._sinks.close)
            for address in options.output:
                self._sinks.add(open_sink(address, self.facts(camera=self.camera)), address)
            self._recorder = self._open_recorder()
            if self._recorder is not None:
                stack.callback(self._recorder.close)
            self._check_held()
            self._stack = stack.pop_all()
        self._statistics = RunStatistics()
        self._status: StatusLine | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def facts(self, *, camera: Camera | None) -> RunFacts:
        """What sinks may want to know. camera: None for several."""
        return RunFacts(
            map_name=self.bundle.manifest.name,
            world=self.bundle.manifest.world,
            camera=camera,
            xyz=self.localizer.overview,
            source=_without_password(self.options.source),
            live=self.source.live,
            advice=self._advice,
        )

    def _within_budget(self) -> tuple[Settings, str]:
        """Settings that keep the budget, and what had to be lowered for it."""
        settings, budget = self.options.settings, self.options.budget_bytes
        self.footprint: Footprint | None = None
        if budget is None:
            return settings, ""
        if self.options.fit:
            settings, self.footprint, words = fit_budget(
                self.bundle, self.camera, settings, budget, self._rows()
            )
            return settings, words
        held = self.options.held_bytes
        self.footprint = check_budget(
            self.bundle, self.camera, settings, budget, self._rows(), held
        )
        return settings, ""

    def _check_held(self) -> None:
        """Refuse before the first frame when opening took more than the budget."""
        budget, held = self.options.budget_bytes, read_memory().rss_bytes
        if budget is not None and held is not None and held > budget:
            raise ConfigError(
                f"--budget {budget / MIB:.0f}MiB: the process holds {held / MIB:.1f} MiB with the "
                f"map open, more than was planned; name a larger budget"
            )

    @property
    def _as_recorded(self) -> bool:
        """Whether frames bring their cameras with them."""
        return self.options.replay is not None and self.options.calibration is None

    def _open_source(self) -> Source:
        options = self.options
        return open_source(
            options.source,
            None if self._as_recorded else self._calibration,
            names=options.names,
            options=options.camera_options,
            exit_on_end=options.exit_on_end,
            grey=not self.bundle.manifest.sees_colour,
        )

    def reopen_source(self) -> None:
        """Begin with the first frame again; not for live sources."""
        self.source.close()
        self.source = self._open_source()

    def _rows(self) -> Rows:
        """What is planned beside the localiser."""
        rows = list(sink_rows(self.options.output))
        recorder = self.options.recorder
        if recorder is not None:
            rows.append(Row(kind="recorder", name="frames", nbytes=self._ring_bytes(recorder)))
            rows.append(Row(kind="recorder", name="notes", nbytes=notes_bytes(recorder.seconds)))
        return (*rows, *self.options.beside)

    def _ring_bytes(self, recorder: RecorderOptions) -> int:
        width, height = self.source.width, self.source.height
        return ring_bytes(width, height, recorder.seconds, recorder.most_bytes)

    def _open_recorder(self) -> FlightRecorder | None:
        options = self.options.recorder
        if options is None:
            return None
        ring = Ring(self._ring_bytes(options), options.seconds)
        session = {
            **session_message(self.localizer, _without_password(self.options.source)),
            "states": self._has_states(),
            "filtered": self.options.filtered,
        }
        return FlightRecorder(options.folder, ring, session, self._recall, self._tell)

    def _tell(self, text: str) -> None:
        if self._status is not None:
            self._status.clear()
        print(text, file=sys.stderr)

    def headline(self) -> str:
        """What is about to run, in three lines, more when a GPU helps or limits were lowered."""
        manifest, camera = self.bundle.manifest, self.camera
        content = _content(self.bundle, self.localizer)
        method = self.localizer.settings.method
        return (
            f"map        {one_line(manifest.name)}, {content}, method {method}\n"
            f"camera     {camera.model} {camera.width}x{camera.height}, "
            f"focal length {camera.fx:.1f} px, {self._camera_note}\n"
            f"source     {one_line(self.source.about)}"
            + (f"\ngpu        {note}" if (note := self._gpu_note()) else "")
            + "".join(f"\nsee        {one_line(about)}" for about in self._sinks.about())
            + (f"\nfitted     {self._fitted}" if self._fitted else "")
        )

    def _gpu_note(self) -> str:
        """What runs on the GPU, in words; "" for nothing."""
        gpu, settings = self.localizer.gpu, self.localizer.settings
        if gpu is None:
            return ""
        acceleration = choose_acceleration(self.bundle, settings)
        parts = [self.localizer.engine_name] if acceleration.engine == "tensorrt" else []
        if acceleration.matcher == "cuda":
            parts.append("matching by CUDA")
        memory = "shared with the processor" if gpu.arena.mapped else f"of {gpu.cuda.info.name}"
        return f"{' and '.join(parts)}, {gpu.arena.nbytes / 1e6:.1f} MB {memory}"

    def run(
        self,
        status_out: StatusOut,
        *,
        sinks: Sequence[Sink] | None = None,
        localizer: Localizes | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Localise until the source ends, the limit is reached, Ctrl-C or `stop`.

        sinks, localizer: instead of the session's own, for one that is part of a rig.
        """
        status = StatusLine(status_out, self._statistics, self.source, self._unit)
        self._status = status

        recorder, alive = self._recorder, self.options.alive

        def before(frame: Frame) -> None:
            if self._resumption is not None:
                self._resumption.before(frame)
            if recorder is not None:
                recorder.before_frame()

        def silent() -> None:
            alive()
            if recorder is not None:
                recorder.between_frames()

        def watch(frame: Frame, result: Localization) -> None:
            alive()
            if recorder is not None:
                recorder.add(frame, result.estimate)
            status.update(result.estimate)
            if self._picture is not None:
                self._picture.watch(frame, result)
            if self._truth:
                self._truth.add(result.estimate)
            if self._sinks.wants_look(frame.t_ns):
                self._sinks.draw(take_look(frame, result))

        try:
            with self._recording():
                run(
                    localizer or self.localizer,
                    self.source,
                    self._statistics,
                    sinks=[self._own_sinks()] if sinks is None else sinks,
                    limit=self.options.limit,
                    watch=watch,
                    supervisor=self._supervisor,
                    between=self.options.between,
                    changed=status.update,
                    silent=silent,
                    stop=stop,
                    advise=self._advised,
                    before=before,
                )
        finally:
            status.clear()
            self._sinks.drain()
        self._sinks.check()

    def _advised(self, frame: Frame) -> Frame:
        """With what an autopilot told of its attitude and motion, where the mount is known."""
        mount = self.camera.mount
        return frame if mount is None else self._advice.frame(frame, mount)

    def _own_sinks(self) -> Sink:
        mount = self.camera.mount
        return self._sinks if mount is None else OfCamera(self._sinks, None, mount)

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        """While frames run: SIGUSR1 asks for a recording, and so does whatever ends it badly."""
        recorder = self._recorder
        if recorder is None or self.options.recorder is None:
            yield
            return
        with on_signal(signal.SIGUSR1, lambda: self.record("signal")):
            try:
                yield
            except Exception:
                self.record("crash")
                raise
        if self.options.recorder.at_end:
            self.record("end")

    def record(self, reason: str) -> None:
        """Write what the flight recorder holds, where there is one; reason: in a word."""
        if self._recorder is not None:
            self._recorder.request(reason)

    def _has_states(self) -> bool:
        wanted = self.options.states
        if wanted is None:
            return self.source.live or isinstance(self.source, VideoSource)
        return wanted

    def _open_supervisor(self) -> Supervisor | None:
        if not self._has_states():
            return None
        localizer = self.localizer
        return Supervisor(
            metre=metre_of(self.bundle.manifest.world, localizer.overview),
            filtered=self.options.filtered,
            localizer=localizer,
        )

    def _recall(self) -> dict[str, Any]:
        """What the next frame's answer hangs on."""
        supervisor = self._supervisor
        return {
            "localizer": self.localizer.recall(),
            "supervisor": None if supervisor is None else supervisor.recall(),
        }

    def _resume(self, recalled: dict[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self.localizer.resume(recalled["localizer"])
        if self._supervisor is not None and recalled["supervisor"] is not None:
            self._supervisor.resume(recalled["supervisor"])

    def summary(self) -> RunSummary:
        """The run so far."""
        return self._statistics.summary(
            dropped=self.source.dropped,
            skipped=len(self.source.skipped),
            unwritten=self._sinks.dropped(),
            unseen=self._sinks.unseen(),
            left_out=self._sinks.left_out(),
            arena_bytes=self.localizer.arena_bytes,
            map_bytes=self.localizer.map_bytes,
            memory=read_memory(),
        )

    def errors(self) -> TruthSummary | None:
        """Distance from the truth, where one was given."""
        return self._truth.summary() if self._truth else None

    def write_picture(self) -> None:
        """Draw the picture, where one was asked for. Raises DiskError."""
        if self._picture is not None:
            self._picture.write()


def _content(bundle: MapBundle, localizer: Localizer) -> str:
    """What a map holds, in words."""
    kind = bundle.manifest.features.kind
    if isinstance(localizer, TiledLocalizer):
        tiles = localizer.tiles
        points = sum(tile.points for tile in tiles)
        here = len(localizer.resident)
        return f"{len(tiles)} tiles, {here} in memory, {points} points, {kind}"
    points_here = localizer.points
    return f"{points_here.n} points, {kind}" if points_here else "held by networks"


def sink_rows(outputs: Sequence[str]) -> Rows:
    """What is planned for poses that wait to be written."""
    return tuple(Row(kind="sinks", name=f"queue of {o}", nbytes=queue_bytes(o)) for o in outputs)


@contextlib.contextmanager
def on_signal(number: signal.Signals, called: Callable[[], None]) -> Iterator[None]:
    """While it is open, the signal does that; Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: called())
    try:
        yield
    finally:
        signal.signal(number, before)


def _without_password(source: str) -> str:
    return re.sub(r"//[^/@]*@", "//", source)


def _calibration(options: SessionOptions, bundle: MapBundle) -> tuple[Camera, str]:
    """The camera, and where it comes from in words."""
    if options.replay is not None and options.calibration is None:
        return options.replay.session.camera, "as recorded"
    if options.calibration is not None:
        camera = read_camera(options.calibration)
        doubt = unlike_mapping(bundle, camera)
        if doubt is not None:
            log.warning("%s", doubt)
        return camera, f"from {options.calibration}"
    if len(mapping_cameras(bundle)) > 1:
        with contextlib.closing(
            open_source(options.source, names=options.names, options=options.camera_options)
        ) as source:
            camera, name = fitting_camera(bundle, source.width, source.height)
    else:
        camera, name = only_camera(bundle)
    return camera, f"as the mapping camera '{name}' (no --calibration given)"
