"""A localiser with its source and sinks: opened, run and closed together."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bundle import MapBundle
from ..errors import one_line
from ..geometry.camera import Camera
from ..memory.process import read_memory
from ..recording.recorder import FlightRecorder
from ..recording.ring import Ring
from ..reference.truth import TruthComparison, TruthSummary, read_truth
from ..sinks import Sink, open_sink
from ..sinks.advice import Advice
from ..sinks.background import BackgroundSinks
from ..sinks.facts import RunFacts
from ..sinks.look import take_look
from ..sinks.of_camera import OfCamera
from ..sources import Source, open_source
from ..sources.recording import RecordingSource
from ..sources.video import VideoSource
from ..structs import Frame, Localization
from ..tiles.any_map import open_on
from ..tiles.tiled_bundle import open_map
from .camera_choice import choose_camera
from .flight import recording
from .headline import gpu_line, map_and_camera
from .loop import run
from .picture import RunPicture
from .pipeline import Localizes
from .replay import Resumption, session_message
from .session_memory import check_held, frames_bytes, within_budget
from .session_options import SessionOptions
from .statistics import RunStatistics, RunSummary
from .status_line import StatusLine, StatusOut
from .supervisor import Supervisor, metre_of

log = logging.getLogger(__name__)


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
            self._calibration, self._camera_note = choose_camera(options, self.bundle)
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
            if not options.as_recorded:
                self.camera = calibration.scaled_to(self.source.width, self.source.height)
            settings, self.footprint, self._fitted = within_budget(
                options, self.bundle, self.camera, self.source.width, self.source.height
            )
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
            check_held(options.budget_bytes)
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

    def _open_source(self) -> Source:
        options = self.options
        return open_source(
            options.source,
            None if options.as_recorded else self._calibration,
            names=options.names,
            options=options.camera_options,
            exit_on_end=options.exit_on_end,
            grey=not self.bundle.manifest.sees_colour,
        )

    def reopen_source(self) -> None:
        """Begin with the first frame again; not for live sources."""
        self.source.close()
        self.source = self._open_source()

    def _open_recorder(self) -> FlightRecorder | None:
        options = self.options.recorder
        if options is None:
            return None
        width, height = self.source.width, self.source.height
        ring = Ring(frames_bytes(options, width, height), options.seconds)
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
        lines = [
            *map_and_camera(self.localizer, self.camera, self._camera_note),
            f"source     {one_line(self.source.about)}",
            *gpu_line(self.localizer),
            *(f"see        {one_line(about)}" for about in self._sinks.about()),
            *([f"fitted     {self._fitted}"] if self._fitted else []),
        ]
        return "\n".join(lines)

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
        at_end = self.options.recorder is not None and self.options.recorder.at_end

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
            with recording(recorder, at_end=at_end):
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


def _without_password(source: str) -> str:
    return re.sub(r"//[^/@]*@", "//", source)
