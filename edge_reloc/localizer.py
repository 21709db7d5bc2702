"""The localiser: one frame in, one answer out, in memory that was taken before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import F32, F64, I32, U8
from .bundle.reader import MapBundle
from .cuda.driver import CudaError
from .cuda.gpu import Gpu
from .errors import EdgeRelocError, EngineError, MissingPackageError
from .geometry.camera import Camera
from .inference.acceleration import choose_acceleration, open_gpu
from .inference.planned import UndescribedNetworkError
from .memory.arena import Arena
from .methods import Settings
from .methods.assemble import Line, OpenEngines, assemble, open_engines, plan_line
from .pose.plausibility import unless_unlikely
from .sources.frame_maker import frame_of
from .stages import Remembers
from .structs import (
    Clock,
    Correspondences,
    Features,
    Frame,
    Localization,
    PoseEstimate,
    Status,
    Work,
)

log = logging.getLogger(__name__)

NO_POINTS = np.zeros((0, 3), np.float32)
OF_THE_GPU = (CudaError, EngineError, MissingPackageError)


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A frame with its features, before it is localised."""

    frame: Frame
    camera: Camera
    features: Features
    #: wall time by stage, milliseconds
    laps: dict[str, float]


class Localizer:
    """Localises frames in one map for one camera; `edge_reloc.open` makes one.

    A context manager. It works on one frame at a time: a thread that localises beside another
    needs a localiser of its own. line: stages and buffers, all there before the first frame.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        #: the map bundle
        self.bundle = line.bundle
        #: that frames come from, unless they name another
        self.camera = line.camera
        #: in force, with the method's name filled in
        self.settings = line.settings
        #: of the map; None where networks hold it
        self.points = line.points
        #: what names keypoints, where the method does
        self.recogniser = line.recogniser
        #: frames worked on at once
        self.in_flight = len(line.slots)
        #: threads that share its work
        self.workers = line.workers
        #: where something runs there
        self.gpu = line.gpu
        #: what runs the networks, for people
        self.engine_name = line.engines.name
        self._work = Work(line.slots[0], line.candidates, line.matches)
        # A tracked frame that is still to be searched for in the whole map, and its pose.
        self._unverified: tuple[Extracted, PoseEstimate] | None = None

    @classmethod
    def open(
        cls,
        bundle: MapBundle,
        camera: Camera,
        settings: Settings | None = None,
        *,
        engines: OpenEngines | None = None,
        gpu: Gpu | None = None,
    ) -> Localizer:
        """Ready for frames, in memory planned to the byte and taken in one piece.

        engines: another way to open the bundle's networks, whose memory is not planned.
        gpu: an open one instead of this machine's, closed with the localiser. Raises
        EdgeRelocError when the bundle cannot serve these settings.
        """
        settings = settings or Settings()
        if engines is not None:
            return cls(assemble(bundle, camera, settings, engines(bundle, Arena(), settings)))
        try:
            arena = _arena(bundle, camera, settings)
            acceleration = choose_acceleration(bundle, settings)
            if acceleration.note is not None:
                log.warning(acceleration.note)
            if gpu is None and acceleration.uses_gpu:
                gpu = open_gpu()
            opened = open_engines(bundle, arena, settings, gpu)
            return cls(assemble(bundle, camera, settings, opened))
        except EdgeRelocError as error:
            if gpu is not None:
                gpu.close()
            if settings.engine != "auto" or not isinstance(error, OF_THE_GPU):
                raise
            log.warning("%s; --engine auto goes on with ONNX Runtime", error)
            settings = replace(settings, engine="onnxruntime", matcher=None)
            return cls.open(bundle, camera, settings)

    def localize(self, image: Frame | U8 | str | Path) -> Localization:
        """Pose and truth about it. Never raises for what a camera shows.

        image: a frame, an array (H,W) grey or (H,W,3) BGR uint8, or the path of a photo, which
        raises SourceError when it cannot be read; a map whose large files were written to
        since it was opened raises BundleError. A frame without `quarter_turns` is turned
        upright as its file says; in maps of turned photos, where upright need not be the
        map's heading, the turn beyond it that worked last is tried first, then the others.
        """
        line = self._line
        frame = frame_of(image, line.camera, grey=not self.bundle.manifest.sees_colour)
        with line.workers.frame():
            self.verify()
            if line.turns is None or frame.quarter_turns is not None:
                return self._localization(self._localize(frame))
            return self._localization(line.turns.localize(frame, self._localize))

    def _localize(self, frame: Frame) -> PoseEstimate:
        return self._locate(self.extract(frame))

    def extract(self, frame: Frame, slot: int = 0) -> Extracted:
        """The first half of `localize`, into the features of a slot."""
        self.bundle.check_unchanged()
        clock, features = Clock(), self._line.slots[slot]
        frame = frame_of(frame, self._line.camera)
        if frame.quarter_turns is None:
            frame = replace(frame, quarter_turns=frame.upright_turns)
        self._line.extractor.extract(frame, features)
        features.camera = camera = frame.camera or self._line.camera
        clock.lap("extract")
        return Extracted(frame=frame, camera=camera, features=features, laps=clock.laps)

    def locate(self, extracted: Extracted) -> Localization:
        """The second half. It may run beside the first half of the next frame.

        Where the frame before it was due for `verify` and nobody called that, it is too late:
        its features may be gone. This frame is searched for instead.
        """
        if self._unverified is not None:
            self.search_next()
        return self._localization(self._locate(extracted))

    def _locate(self, extracted: Extracted) -> PoseEstimate:
        line, work = self._line, self._work
        frame, camera = extracted.frame, extracted.camera
        work.begin(extracted.features, extracted.laps)
        self._unverified = None
        if work.features.n < line.settings.min_keypoints:
            return self._answer(frame, self._featureless())
        estimate = self._track(frame, camera)
        if estimate is None:
            estimate = self._registered(frame, camera)
        elif line.tracker is not None and line.tracker.verification_due:
            self._unverified = extracted, estimate
        if line.tracker is not None:
            line.tracker.remember(
                frame.t_ns,
                estimate.cam_from_world,
                tracked=estimate.tracked,
                inliers=estimate.inliers,
            )
        return self._answer(frame, estimate)

    def _registered(self, frame: Frame, camera: Camera) -> PoseEstimate:
        """The pose found by a search of the whole map."""
        line, work = self._line, self._work
        if line.embedder is not None:
            line.embedder.embed(frame, work.features)
        if line.retriever is not None:
            line.retriever.retrieve(work.features, work.candidates)
            work.clock.lap("retrieve")
        return self._judged(line.registration.register(camera, work), frame, camera)

    def _track(self, frame: Frame, camera: Camera) -> PoseEstimate | None:
        """The pose found around the predicted one, None where there is none that is likely."""
        line, work = self._line, self._work
        if line.tracker is None or line.second_pass is None:
            return None
        expected = line.tracker.predict(frame.t_ns)
        if expected is None:
            return None
        pose, features, refiner = expected.cam_from_world, work.features, line.second_pass
        inliers, estimate = line.tracker.inliers, None
        if expected.is_close(camera):
            near = refiner.near(camera, features, pose, work.matches, inliers=inliers)
            estimate = self._tracked(near, frame, camera)
        if estimate is None and not line.tracker.verification_due:  # a search is as dear, and due
            around = refiner.around(camera, features, pose, work.matches)
            estimate = self._tracked(around, frame, camera)
        work.clock.lap("track")
        return estimate

    def _tracked(
        self, found: tuple[PoseEstimate, Correspondences], frame: Frame, camera: Camera
    ) -> PoseEstimate | None:
        """What a look around a prediction found, None where that is not to be believed."""
        estimate, self._work.matches = found
        estimate = self._judged(estimate, frame, camera)
        likely = estimate.p_right is None or estimate.p_right >= self._line.settings.min_p_right
        if not likely or estimate.cam_from_world is None:
            return None
        return replace(estimate, tracked=True)

    def _judged(self, estimate: PoseEstimate, frame: Frame, camera: Camera) -> PoseEstimate:
        """The estimate with what may be believed of it."""
        line, work = self._line, self._work
        estimate = line.monitor.judge(estimate, work.matches, frame.vertical)
        return line.plausibility.judge(camera, work.features, work.matches, estimate)

    def _featureless(self) -> PoseEstimate:
        needed = self._line.settings.min_keypoints
        return PoseEstimate(
            t_ns=0,
            status=Status.NO_FEATURES,
            reason=f"{self._work.features.n} keypoints, {needed} are needed: "
            f"the image is dark, blurred or blank",
        )

    def _answer(self, frame: Frame, estimate: PoseEstimate) -> PoseEstimate:
        """The estimate with what is known of the frame."""
        return replace(
            estimate,
            t_ns=frame.t_ns,
            index=frame.index,
            name=frame.name,
            keypoints=self._work.features.n,
            candidates=self._work.candidates.n,
            stages_ms=self._work.clock.laps,
        )

    def _localization(self, estimate: PoseEstimate) -> Localization:
        recogniser, work = self._line.recogniser, self._work
        estimate = self._checked(estimate)
        named = 0 if recogniser is None else recogniser.keypoints
        return Localization(estimate=estimate, _named=named, _work=work, _number=work.number)

    def _checked(self, estimate: PoseEstimate) -> PoseEstimate:
        """Refused where frames contradict the camera, or where it is likely wrong; then no
        frame is tracked from it.
        """
        line, work = self._line, self._work
        if estimate.cam_from_world is None:
            return estimate
        checked = estimate
        if line.calibration_check is not None:
            camera = work.features.camera or line.camera
            checked = line.calibration_check.judge(camera, work.matches, estimate, work.unguided)
            work.clock.lap("calibration")
            laps = {**estimate.stages_ms, "calibration": work.clock.laps["calibration"]}
            checked = replace(checked, stages_ms=laps)
        checked = unless_unlikely(checked, line.settings.min_p_right)
        if checked.cam_from_world is None:
            self.search_next()
        return self._protected(checked)

    def _protected(self, estimate: PoseEstimate) -> PoseEstimate:
        """The estimate with its protection levels, for what its camera file may be wrong by."""
        line, work = self._line, self._work
        error = None
        if line.calibration_check is not None and line.monitor.has_levels:
            camera = work.features.camera or line.camera
            error = line.calibration_check.error(camera, work.matches, estimate)
        return line.monitor.protect(estimate, error)

    def warm_up(self, image: Frame | U8 | str | Path) -> None:
        """Localise a frame for the first time it takes; tracking begins after it."""
        self.localize(image)
        self.search_next()

    def predict(self, t_ns: int, cam_from_world: F64, covariance: F64) -> None:
        """Tell where the frame at a time should be found, as odometry or an IMU knows it.

        Call it before `localize` of a frame with this `t_ns`; without it tracking expects
        constant motion. cam_from_world: (4,4). covariance: (6,6) of [rotation rad, translation
        map units], left perturbation. Used where `tracking` is on; what is found is tested
        against the whole image as always, so that a wrong prediction costs time alone.
        """
        if self._line.tracker is not None:
            self._line.tracker.expect(t_ns, cam_from_world, covariance)

    def search_next(self) -> None:
        """Look for the next frame in the whole map, as if no frame had been before it."""
        if self._line.tracker is not None:
            self._line.tracker.forget()
        self._unverified = None

    def verify(self) -> None:
        """Where that is due, search the whole map for the frame that was tracked last.

        It takes as long as a frame that is searched for. The next `localize` begins with it;
        called after a pose was passed on, it delays no pose. Where the search finds another
        place, or none, the next frame is searched for as well before there is a pose of it.
        In a map of tiles "the whole map" is the tile that the pose is from. Views of the last
        frame's features and matches end here.
        """
        unverified, self._unverified = self._unverified, None
        tracker, work = self._line.tracker, self._work
        if unverified is None or tracker is None:
            return
        extracted, tracked = unverified
        with self.workers.frame():
            work.begin(extracted.features, {})
            searched = self._registered(extracted.frame, extracted.camera)
        tracker.verify(tracked, unless_unlikely(searched, self._line.settings.min_p_right))

    def recall(self) -> dict[str, Any]:
        """What it remembers of the frames so far, by the part that does; arrays are shared.

        Read between two frames; `resume` of a localiser of the same map, camera and settings
        takes it, and goes on as this one would.
        """
        self.verify()
        return {name: part.recall() for name, part in self._remembering().items()}

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self._unverified = None
        for name, part in self._remembering().items():
            part.resume(recalled[name])

    def _remembering(self) -> dict[str, Remembers]:
        """The parts whose answer hangs on earlier frames."""
        line = self._line
        parts: dict[str, Remembers | None] = {
            "tracker": line.tracker,
            "calibration": line.calibration_check,
            "turns": line.turns,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def overview(self) -> F32:
        """(N,3) where the map has points, for pictures; none where networks hold it."""
        return NO_POINTS if self.points is None else self.points.xyz

    @property
    def point_labels(self) -> I32 | None:
        """(P,) number of what each map point belongs to, such as a landmark, 0 for none."""
        recogniser, points = self._line.recogniser, self._line.points
        return None if recogniser is None or points is None else recogniser.labels(points.n)

    @property
    def arena_bytes(self) -> int:
        """Size of the one piece of host memory, taken before the first frame."""
        return self._line.arena.nbytes

    @property
    def map_bytes(self) -> int:
        """Size of the bundle's files that are used."""
        return self.bundle.nbytes(self.bundle.used)

    def close(self) -> None:
        """Give engines and threads back."""
        self._line.engines.close()
        self._line.workers.close()
        if self.gpu is not None:
            self.gpu.close()

    def __enter__(self) -> Localizer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _arena(bundle: MapBundle, camera: Camera, settings: Settings) -> Arena:
    """As large as is planned; of a map that is too old to be planned, one that grows."""
    try:
        return Arena(plan_line(bundle, camera, settings).arena.nbytes)
    except UndescribedNetworkError as error:
        log.warning("memory is not planned: %s", error)
        return Arena()
