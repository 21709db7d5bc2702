"""A localiser with its source and sinks: opened, run and closed together."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from ..bundle import MapBundle, open_bundle
from ..bundle.mapping_cameras import fitting_camera, mapping_cameras, only_camera, unlike_mapping
from ..errors import ConfigError, one_line
from ..geometry.camera import Camera, read_camera
from ..inference.acceleration import choose_acceleration
from ..localizer import Localizer
from ..memory.process import read_memory
from ..methods import Settings
from ..reference.truth import TruthComparison, TruthSummary, read_truth
from ..sinks import open_sink
from ..sinks.background import BackgroundSinks
from ..sources import open_source
from ..sources.video import VideoSource
from ..structs import Frame, Localization
from .budget import MIB, check_budget, fit_budget
from .loop import Between, run
from .picture import RunPicture
from .statistics import RunStatistics, RunSummary
from .status_line import StatusLine
from .supervisor import Supervisor, metre_of

log = logging.getLogger(__name__)

NO_POINTS = np.zeros((0, 3), np.float32)


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
    output: tuple[Path, ...] = ()
    picture: Path | None = None
    #: folder of a COLMAP model to compare with, by frame name
    truth: Path | None = None
    #: frames
    limit: int | None = None
    #: host memory of the process
    budget_bytes: int | None = None
    #: lower limits to keep the budget
    fit: bool = False
    #: file of the public key whose holder must have signed the map
    require_signed: Path | None = None
    #: whether a state machine watches over the poses; None: over those of streams and videos
    states: bool | None = None
    #: give out the filter's poses instead of the measured ones
    filtered: bool = False
    #: poses given out between frames
    between: Between | None = None


class Session:
    """Context manager. Opening raises EdgeRelocError and leaves nothing open."""

    def __init__(self, options: SessionOptions) -> None:
        self.options = options
        self.bundle = open_bundle(options.map, require_signed=options.require_signed)
        world = self.bundle.manifest.world
        grade = self.bundle.manifest.statistics.get("grade")
        if isinstance(grade, dict) and grade.get("verdict") not in (None, "good"):
            log.warning("the map's reconstruction is %s: see 'inspect'", grade["verdict"])
        self._unit = "m" if world.metric else "units"
        with contextlib.ExitStack() as stack:
            self._calibration, self._camera_note = _calibration(options, self.bundle)
            calibration = self._calibration
            self.source = open_source(options.source, calibration, names=options.names)
            stack.callback(lambda: self.source.close())
            if self.source.live and options.calibration is None:
                log.warning(
                    "no --calibration was given: a camera of the mapping photos stands for this "
                    "one, and poses are as wrong as it is another; calibrate it with "
                    "'edge-reloc calibrate'"
                )
            self.camera = calibration.scaled_to(self.source.width, self.source.height)
            settings, self._fitted = self._within_budget()
            self.localizer = Localizer.open(self.bundle, self.camera, settings)
            self._check_held()
            stack.callback(self.localizer.close)
            self._picture = None
            if options.picture is not None:
                gravity = None if world.gravity is None else np.array(world.gravity)
                xyz = self.localizer.points.xyz if self.localizer.points else NO_POINTS
                labels = self.localizer.point_labels
                self._picture = RunPicture(options.picture, xyz, gravity, self._unit, labels)
            self._truth = options.truth and TruthComparison(read_truth(options.truth))
            self._sinks = BackgroundSinks(live=self.source.live)
            stack.callback(self._sinks.close)
            for path in options.output:
                self._sinks.add(open_sink(path), str(path))
            self._stack = stack.pop_all()
        self._statistics = RunStatistics()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def _within_budget(self) -> tuple[Settings, str]:
        """Settings that keep the budget, and what had to be lowered for it."""
        settings, budget = self.options.settings, self.options.budget_bytes
        if budget is None:
            return settings, ""
        if self.options.fit:
            settings, _, words = fit_budget(self.bundle, self.camera, settings, budget)
            return settings, words
        check_budget(self.bundle, self.camera, settings, budget)
        return settings, ""

    def _check_held(self) -> None:
        """Refuse before the first frame when opening took more than the budget."""
        budget, held = self.options.budget_bytes, read_memory().rss_bytes
        if budget is not None and held is not None and held > budget:
            self.localizer.close()
            raise ConfigError(
                f"--budget {budget / MIB:.0f}MiB: the process holds {held / MIB:.1f} MiB with the "
                f"map open, more than was planned; name a larger budget"
            )

    def reopen_source(self) -> None:
        """Begin with the first frame again; not for live sources."""
        self.source.close()
        self.source = open_source(self.options.source, self._calibration, names=self.options.names)

    def headline(self) -> str:
        """What is about to run, in two lines, more when a GPU helps or limits were lowered."""
        manifest, camera, points = self.bundle.manifest, self.camera, self.localizer.points
        content = f"{points.n} points, {manifest.features.kind}" if points else "held by networks"
        method = self.localizer.settings.method
        return (
            f"map        {one_line(manifest.name)}, {content}, method {method}\n"
            f"camera     {camera.model} {camera.width}x{camera.height}, "
            f"focal length {camera.fx:.1f} px, {self._camera_note}"
            + (f"\ngpu        {note}" if (note := self._gpu_note()) else "")
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

    def run(self, status_out: TextIO) -> None:
        """Localise until the source ends, the limit is reached or Ctrl-C."""
        status = StatusLine(status_out, self._statistics, self.source, self._unit)

        def watch(frame: Frame, result: Localization) -> None:
            status.update(result.estimate)
            if self._picture is not None:
                self._picture.watch(frame, result)
            if self._truth:
                self._truth.add(result.estimate)

        supervisor = self._supervisor() if self._has_states() else None
        try:
            run(
                self.localizer,
                self.source,
                self._statistics,
                sinks=[self._sinks],
                limit=self.options.limit,
                watch=watch,
                supervisor=supervisor,
                between=self.options.between,
                changed=status.update,
            )
        finally:
            status.clear()
            self._sinks.drain()
        self._sinks.check()

    def _has_states(self) -> bool:
        wanted = self.options.states
        if wanted is None:
            return self.source.live or isinstance(self.source, VideoSource)
        return wanted

    def _supervisor(self) -> Supervisor:
        localizer = self.localizer
        return Supervisor(
            metre=metre_of(self.bundle.manifest.world, localizer.points),
            filtered=self.options.filtered,
            localizer=localizer,
        )

    def summary(self) -> RunSummary:
        """The run so far."""
        return self._statistics.summary(
            dropped=self.source.dropped,
            skipped=len(self.source.skipped),
            unwritten=self._sinks.dropped(),
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


def _calibration(options: SessionOptions, bundle: MapBundle) -> tuple[Camera, str]:
    """The camera, and where it comes from in words."""
    if options.calibration is not None:
        camera = read_camera(options.calibration)
        doubt = unlike_mapping(bundle, camera)
        if doubt is not None:
            log.warning("%s", doubt)
        return camera, f"from {options.calibration}"
    if len(mapping_cameras(bundle)) > 1:
        with contextlib.closing(open_source(options.source, names=options.names)) as source:
            camera, name = fitting_camera(bundle, source.width, source.height)
    else:
        camera, name = only_camera(bundle)
    return camera, f"as the mapping camera '{name}' (no --calibration given)"
