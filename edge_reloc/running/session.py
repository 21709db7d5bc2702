"""A localiser with its source and sinks: opened, run and closed together."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from ..bundle import MapBundle, open_bundle
from ..errors import BundleError, CameraError, ConfigError
from ..geometry.camera import Camera, read_camera
from ..localizer import Localizer
from ..profiling import RunStatistics, RunSummary, read_memory
from ..reference.truth import TruthComparison, TruthSummary, read_truth
from ..retrieval.landmarks import LandmarkRetriever
from ..settings import Settings
from ..sinks import Sink, open_sink
from ..sources import open_source
from ..structs import I32, Frame, PoseEstimate
from .budget import MIB, check_budget, fit_budget
from .loop import run
from .picture import Recognised, RunPicture
from .status_line import StatusLine

DEMO = Path(__file__).parents[1] / "demo"
NO_POINTS = np.zeros((0, 3), np.float32)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What to run.

    source: as `open_source` takes it. names: a list of photos in it.
    calibration: camera file, None for the map's only mapping camera.
    truth: folder of a COLMAP model to compare with, by frame name. limit: frames.
    budget_bytes: host memory of the process; fit: lower limits to keep it.
    """

    map: Path
    source: str
    settings: Settings
    names: Path | None = None
    calibration: Path | None = None
    output: tuple[Path, ...] = ()
    picture: Path | None = None
    truth: Path | None = None
    limit: int | None = None
    budget_bytes: int | None = None
    fit: bool = False


class Session:
    """Context manager. Opening raises EdgeRelocError and leaves nothing open."""

    def __init__(self, options: SessionOptions) -> None:
        self.options = options
        self.bundle = open_bundle(options.map)
        world = self.bundle.manifest.world
        self._unit = "m" if world.metric else "units"
        with contextlib.ExitStack() as stack:
            self._calibration, self._camera_note = _calibration(options, self.bundle)
            calibration = self._calibration
            self.source = open_source(options.source, calibration, names=options.names)
            stack.callback(lambda: self.source.close())
            self.camera = calibration.scaled_to(self.source.width, self.source.height)
            settings, self._fitted = self._within_budget()
            self.localizer = Localizer.open(self.bundle, self.camera, settings)
            self._check_held()
            stack.callback(self.localizer.close)
            self._picture = None
            if options.picture is not None:
                gravity = None if world.gravity is None else np.array(world.gravity)
                xyz = self.localizer.points.xyz if self.localizer.points else NO_POINTS
                self._picture = RunPicture(
                    options.picture, xyz, gravity, self._unit, self._labels(len(xyz))
                )
            self._truth = options.truth and TruthComparison(read_truth(options.truth))
            self._sinks: list[Sink] = []
            for path in options.output:
                self._sinks.append(open_sink(path))
                stack.callback(self._sinks[-1].close)
            self._stack = stack.pop_all()
        self._statistics = RunStatistics()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        return (
            f"map        {manifest.name}, {content}, method {self.localizer.method_name}\n"
            f"camera     {camera.model} {camera.width}x{camera.height}, "
            f"focal length {camera.fx:.1f} px, {self._camera_note}"
            + (f"\ngpu        {self.localizer.gpu_note}" if self.localizer.gpu_note else "")
            + (f"\nfitted     {self._fitted}" if self._fitted else "")
        )

    def run(self, status_out: TextIO) -> None:
        """Localise until the source ends, the limit is reached or Ctrl-C."""
        status = StatusLine(status_out, self._statistics, self.source, self._unit)

        def watch(frame: Frame, estimate: PoseEstimate) -> None:
            status.update(estimate)
            if self._picture is not None:
                self._picture.watch(
                    frame, estimate, self.localizer.correspondences, self._recognised()
                )
            if self._truth:
                self._truth.add(estimate)

        try:
            run(
                self.localizer,
                self.source,
                self._statistics,
                sinks=self._sinks,
                limit=self.options.limit,
                watch=watch,
            )
        finally:
            status.clear()

    def summary(self) -> RunSummary:
        """The run so far."""
        return self._statistics.summary(
            dropped=self.source.dropped,
            skipped=len(self.source.skipped),
            arena_bytes=self.localizer.arena.nbytes,
            map_bytes=self.localizer.map_bytes,
            memory=read_memory(),
        )

    def errors(self) -> TruthSummary | None:
        """Distance from the truth, where one was given."""
        return self._truth.summary() if self._truth else None

    def _labels(self, points: int) -> I32 | None:
        """Landmark of each map point, where the method knows landmarks."""
        retriever = self.localizer.method.retriever
        if isinstance(retriever, LandmarkRetriever):
            return retriever.landmarks.labels(points)
        return None

    def _recognised(self) -> Recognised | None:
        """Keypoints of the frame just localised; None also where it was tracked."""
        features, candidates = self.localizer.features, self.localizer.candidates
        retriever = self.localizer.method.retriever
        if candidates.n == 0 or not isinstance(retriever, LandmarkRetriever):
            return None
        n = min(features.n, retriever.keypoints)
        return Recognised(features.xy_px[:n], candidates.query_group[:n])

    def write_picture(self) -> None:
        """Draw the picture, where one was asked for. Raises DiskError."""
        if self._picture is not None:
            self._picture.write()


def session_options(options: argparse.Namespace) -> SessionOptions:
    """What the command line of `edge-reloc run --map` asks for."""
    if options.camera is not None:
        source, names = f"camera:{options.camera}", None
    elif options.source is None:  # a list alone: names relative to its folder
        source, names = str(options.list.parent), options.list
    else:
        source, names = options.source, options.list
    return SessionOptions(
        map=options.map,
        source=source,
        names=names,
        calibration=options.calibration,
        **_common(options),
    )


def demo_options(options: argparse.Namespace) -> SessionOptions:
    """What `edge-reloc run --demo` asks for. BundleError when it did not ship."""
    for part in ("map", "frames", "camera.json", "truth"):
        if not (DEMO / part).exists():
            raise BundleError(
                f"{DEMO / part}: missing; this installation came without the demo's files, "
                f"install edge_reloc again"
            )
    return SessionOptions(
        map=DEMO / "map",
        source=str(DEMO / "frames"),
        calibration=DEMO / "camera.json",
        truth=DEMO / "truth",
        **_common(options),
    )


def _common(options: argparse.Namespace) -> dict[str, Any]:
    settings = Settings(
        method=options.method,
        head=options.head,
        second_pass=options.second_pass,
        registration=options.registration,
        landmarks=options.landmarks,
        tracking=options.tracking,
        candidates=options.candidates,
        match_block=options.match_block or Settings.match_block,
        precision=options.precision,
        engine=options.engine,
        matcher=options.matcher,
        threads=options.threads,
        in_flight=options.in_flight,
    )
    return {
        "settings": settings,
        "output": tuple(getattr(options, "output", ())),
        "picture": getattr(options, "picture", None),
        "limit": options.frames,
        "budget_bytes": options.budget,
        "fit": options.fit,
    }


def _calibration(options: SessionOptions, bundle: MapBundle) -> tuple[Camera, str]:
    """The camera, and where it comes from in words."""
    if options.calibration is not None:
        return read_camera(options.calibration), f"from {options.calibration}"
    where = str(bundle.directory / "manifest.json")
    cameras = {
        Camera.from_dict(values, f"{where}: cameras['{name}']"): name
        for name, values in bundle.manifest.cameras.items()
    }
    if len(cameras) != 1:
        found = ", ".join(sorted(cameras.values())[:5]) or "none"
        raise CameraError(
            f"{bundle.directory}: the map was made with {len(cameras)} cameras ({found}), "
            f"so yours cannot be taken from it; give --calibration camera.json "
            f"(made by 'edge-reloc calibrate')"
        )
    camera, name = next(iter(cameras.items()))
    return camera, f"as the mapping camera '{name}' (no --calibration given)"
