"""The localiser: one frame in, one answer out, no state that a test must fake."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from .bundle.reader import MapBundle
from .cuda.driver import CudaError
from .cuda.gpu import Gpu
from .errors import EdgeRelocError, EngineError, MissingPackageError
from .features.extractor import open_extractor
from .geometry.camera import Camera
from .geometry.rigid import Array
from .inference.acceleration import Acceleration, choose_acceleration, open_gpu, planned_gpu
from .inference.engines import Engines
from .inference.planned import PlannedEngines, PlannedTensorRtEngines
from .inference.tensorrt import TensorRtEngines
from .matching.nearest import NearestMatcher
from .matching.nearest_cuda import CudaMatcher
from .memory.arena import Arena
from .memory.threads import Workers
from .methods.table import Method, build_method
from .pose.landmark_wise import LandmarkWise
from .pose.quarter_turns import Heading
from .pose.second_pass import SecondPass
from .pose.solver import PoseSolver
from .pose.tracking import Tracker
from .settings import Settings
from .stages import Matcher
from .structs import Candidates, Correspondences, Features, Frame, PoseEstimate, Status

log = logging.getLogger(__name__)

OF_THE_GPU = (CudaError, EngineError, MissingPackageError)


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A frame's features, and how long each stage took, milliseconds."""

    features: Features
    laps: dict[str, float]


class Localizer:
    """Opens a bundle for one camera, takes its memory, localises frames.

    engines: another way to open the bundle's networks than the engine of the settings.
    arena: where buffers come from; `open` plans one of exactly the right size. gpu: where
    the chosen acceleration needs one; closed with the localiser.
    """

    def __init__(
        self,
        bundle: MapBundle,
        camera: Camera,
        settings: Settings,
        engines: Callable[[MapBundle, Arena, Settings], Engines] | None = None,
        arena: Arena | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        manifest = bundle.manifest
        self.bundle, self.camera, self.settings = bundle, camera, settings
        self.arena = arena or Arena()
        self.acceleration = choose_acceleration(bundle, settings)
        self.gpu = gpu
        self.engines = (
            engines(bundle, self.arena, settings)
            if engines
            else _open_engines(bundle, self.arena, settings, self.acceleration, self.gpu)
        )
        self.method_name = settings.method or manifest.method
        self.method: Method = build_method(self.method_name, bundle, self.engines, settings)
        self.points = self.method.points
        spec = self.spec = self.method.features or manifest.features
        self.extractor = open_extractor(spec, camera, self.engines.open, gpu)
        embedder = self.method.embedder
        self.features = Features(
            self.arena, spec.keypoints, spec.dim, embedder.dim if embedder else 0, spec.place_dim
        )
        # Maps of turned photos look at a frame again, so that the next one has to wait.
        self.in_flight = 1 if spec.turns else settings.in_flight
        self.slots = [self.features]
        if self.in_flight == 2:
            self.slots.append(
                Features(
                    self.arena,
                    spec.keypoints,
                    spec.dim,
                    len(self.features.embedding),
                    spec.place_dim,
                )
            )
        self.candidates = Candidates(self.arena, self.method.capacity, spec.keypoints)
        self.correspondences = Correspondences(self.arena, spec.keypoints)
        similarity = (
            spec.min_similarity if settings.min_similarity is None else settings.min_similarity
        )
        self.workers = Workers(settings.threads)
        self.matcher = self.method.matcher or self._open_matcher(
            similarity, spec.max_ratio if settings.max_ratio is None else settings.max_ratio
        )
        threshold = settings.threshold_px or self.method.threshold_px
        ratio = max(settings.gate.min_inlier_ratio, self.method.min_inlier_ratio)
        gate = replace(settings.gate, min_inlier_ratio=ratio)
        self.solver = PoseSolver(threshold_px=threshold, gate=gate, seed=settings.seed)
        self.landmark_wise: LandmarkWise | None = None
        if self.method.landmark_wise:
            self.landmark_wise = LandmarkWise(
                self.matcher,
                self.arena,
                settings,
                threshold_px=threshold,
                capacity=self.method.capacity,
                keypoints=spec.keypoints,
            )
        self.tracker = Tracker() if settings.tracking else None
        tuned = manifest.methods.get(self.method_name, {}).get("second_pass", False)
        self.refines = tuned if settings.second_pass is None else settings.second_pass
        self.second_pass: SecondPass | None = None
        if self.points is not None and (self.refines or self.landmark_wise or self.tracker):
            coverage = settings.gate.min_coverage
            self.second_pass = SecondPass(
                self.points,
                self.arena,
                self.solver,
                settings,
                threshold_px=threshold,
                keypoints=spec.keypoints,
                min_similarity=similarity,
                min_coverage=spec.min_coverage if coverage is None else coverage,
            )
        self.heading = Heading(self.method.as_before)
        self.engines.ready()
        self.arena.seal()
        if self.gpu is not None:
            self.gpu.arena.seal()

    def _open_matcher(self, min_similarity: float, max_ratio: float) -> Matcher:
        assert self.points is not None
        if self.gpu is not None and self.acceleration.matcher == "cuda":
            return CudaMatcher(
                self.points,
                self.gpu,
                keypoints=self.spec.keypoints,
                candidates=self.method.capacity,
                min_similarity=min_similarity,
                max_ratio=max_ratio,
                # With two frames in flight the next one's descriptors lie there already.
                source=self.extractor.device_descriptors if self.in_flight == 1 else 0,
            )
        return NearestMatcher(
            self.points,
            self.arena,
            keypoints=self.spec.keypoints,
            candidates=self.method.capacity,
            block=self.settings.match_block,
            min_similarity=min_similarity,
            max_ratio=max_ratio,
            workers=self.workers,
        )

    @classmethod
    def open(cls, bundle: MapBundle, camera: Camera, settings: Settings | None = None) -> Localizer:
        """Ready for frames, in memory planned to the byte and taken in one piece.

        Raises EdgeRelocError when the bundle cannot serve these settings.
        """
        settings = settings or Settings()
        gpu: Gpu | None = None
        try:
            size = cls.planned(bundle, camera, settings).arena.nbytes
            if choose_acceleration(bundle, settings).uses_gpu:
                gpu = open_gpu()
            return cls(bundle, camera, settings, arena=Arena(size), gpu=gpu)
        except EdgeRelocError as error:
            if gpu is not None:
                gpu.close()
            if settings.engine != "auto" or not isinstance(error, OF_THE_GPU):
                raise
            log.warning("%s; --engine auto goes on with ONNX Runtime", error)
            settings = replace(settings, engine="onnxruntime", matcher=None)
            return cls.open(bundle, camera, settings)

    @classmethod
    def planned(cls, bundle: MapBundle, camera: Camera, settings: Settings) -> Localizer:
        """The same put together without weights and memory, to see what it would take."""
        apart = MapBundle(bundle.directory, bundle.manifest)
        acceleration = choose_acceleration(bundle, settings)
        gpu = planned_gpu() if acceleration.uses_gpu else None

        def engines(bundle: MapBundle, arena: Arena, settings: Settings) -> Engines:
            if gpu is not None and acceleration.engine == "tensorrt":
                return PlannedTensorRtEngines(bundle, arena, gpu, precision=settings.precision)
            return PlannedEngines(bundle, arena, precision=settings.precision)

        return cls(apart, camera, settings, engines, Arena(), gpu)

    @property
    def map_bytes(self) -> int:
        """Size of the bundle's files that this localiser uses."""
        return self.bundle.nbytes(self.bundle.used)

    @property
    def gpu_note(self) -> str:
        """What runs on the GPU, in words; "" for nothing."""
        if self.gpu is None:
            return ""
        parts = [self.engines.name] if self.acceleration.engine == "tensorrt" else []
        if self.acceleration.matcher == "cuda":
            parts.append("matching by CUDA")
        arena = self.gpu.arena
        memory = "shared with the processor" if arena.mapped else f"of {self.gpu.cuda.info.name}"
        return f"{' and '.join(parts)}, {arena.nbytes / 1e6:.1f} MB {memory}"

    def localize(self, frame: Frame) -> PoseEstimate:
        """Pose and truth about it. Never raises for what a camera shows.

        Maps of turned photos: a frame that does not say how it is turned is tried at the
        heading that worked last, then at the others.
        """
        with self.workers.frame():
            if self.spec.turns and frame.quarter_turns is None:
                return self.heading.localize(frame, self._localize)
            return self._localize(frame)

    def warm_up(self, frame: Frame) -> None:
        """Localise a frame for the first time it takes; tracking begins after it."""
        self.localize(frame)
        if self.tracker is not None:
            self.tracker = Tracker()

    def _localize(self, frame: Frame) -> PoseEstimate:
        return self.locate(frame, self.extract(frame, self.slots[0]))

    def extract(self, frame: Frame, features: Features) -> Extracted:
        """The first half of `localize`, into features of `slots`."""
        clock = _Clock()
        self.extractor.extract(frame, features)
        clock.lap("extract")
        return Extracted(features=features, laps=clock.laps)

    def locate(self, frame: Frame, extracted: Extracted) -> PoseEstimate:
        """The second half. It may run beside the first half of the next frame."""
        clock = _Clock(extracted.laps)
        self.features = extracted.features
        keypoints = self.features.n
        if keypoints < self.settings.gate.min_keypoints:
            self.candidates.n = self.correspondences.n = 0
            return PoseEstimate(
                t_ns=frame.t_ns,
                status=Status.NO_FEATURES,
                reason=f"{keypoints} keypoints, {self.settings.gate.min_keypoints} are needed: "
                f"the image is dark, blurred or blank",
                keypoints=keypoints,
                index=frame.index,
                name=frame.name,
                stages_ms=clock.laps,
            )
        self.features.camera = frame.camera
        estimate = self._track(frame, clock)
        if estimate is None:
            if self.method.embedder is not None:
                self.method.embedder.embed(frame, self.features)
            self.method.retriever.retrieve(self.features, self.candidates)
            clock.lap("retrieve")
            estimate = self._register(frame.camera, clock)
        if self.tracker is not None:
            self.tracker.remember(frame.t_ns, estimate.cam_from_world)
        return replace(
            estimate,
            t_ns=frame.t_ns,
            index=frame.index,
            name=frame.name,
            keypoints=keypoints,
            candidates=self.candidates.n,
            stages_ms=clock.laps,
        )

    def _track(self, frame: Frame, clock: _Clock) -> PoseEstimate | None:
        """The pose found around the predicted one, None where there is none."""
        predicted = None if self.tracker is None else self.tracker.predict(frame.t_ns)
        if predicted is None:
            return None
        self.candidates.n = 0
        estimate = self._around(frame.camera, predicted)
        clock.lap("track")
        return estimate if estimate.status is Status.OK else None

    def _register(self, camera: Camera, clock: _Clock) -> PoseEstimate:
        """The pose that the candidates lead to."""
        if self.landmark_wise is not None:
            return self._register_landmark_wise(self.landmark_wise, camera, clock)
        self.matcher.match(self.features, self.candidates, self.correspondences)
        clock.lap("match")
        estimate = self.solver.solve(camera, self.correspondences)
        clock.lap("solve")
        if self.refines and self.second_pass and estimate.cam_from_world is not None:
            estimate, self.correspondences = self.second_pass.refine(
                camera, self.features, estimate, self.correspondences
            )
            clock.lap("second_pass")
        return estimate

    def _register_landmark_wise(
        self, landmark_wise: LandmarkWise, camera: Camera, clock: _Clock
    ) -> PoseEstimate:
        """Algorithm 1 of PRAM: the first landmark whose pose holds around it, too."""
        for first in landmark_wise.poses(
            camera, self.features, self.candidates, self.correspondences
        ):
            clock.lap("solve")
            estimate = first
            if first.cam_from_world is None:
                continue
            estimate = self._around(camera, first.cam_from_world)
            clock.lap("second_pass")
            if estimate.status is Status.OK:
                break
        return estimate

    def _around(self, camera: Camera, rough: Array) -> PoseEstimate:
        assert self.second_pass is not None
        estimate, self.correspondences = self.second_pass.around(
            camera, self.features, rough, self.correspondences
        )
        return estimate

    def close(self) -> None:
        """Give engines and threads back."""
        self.engines.close()
        self.workers.close()
        if self.gpu is not None:
            self.gpu.close()


def _open_engines(
    bundle: MapBundle,
    arena: Arena,
    settings: Settings,
    acceleration: Acceleration,
    gpu: Gpu | None,
) -> Engines:
    if gpu is not None and acceleration.engine == "tensorrt":
        return TensorRtEngines(bundle, arena, gpu, precision=settings.precision)
    return Engines(bundle, arena, precision=settings.precision, threads=settings.threads)


class _Clock:
    """Wall time between laps, milliseconds, added to those before."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps = dict(laps or {})
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        now = time.perf_counter_ns()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1e-6
        self._last = now
