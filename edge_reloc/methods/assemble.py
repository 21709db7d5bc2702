"""The line of stages of one localiser: wired here, for running and for planning alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..bundle.points import PointMap
from ..bundle.reader import MapBundle
from ..cuda.gpu import Gpu
from ..errors import BundleError
from ..features.spec import FeatureSpec
from ..geometry.camera import Camera
from ..inference.acceleration import choose_acceleration, planned_gpu
from ..inference.engines import Engines
from ..inference.planned import PlannedEngines, PlannedTensorRtEngines
from ..inference.tensorrt import TensorRtEngines
from ..matching.nearest import NearestMatcher
from ..matching.nearest_cuda import CudaMatcher
from ..memory.arena import Arena
from ..memory.threads import Workers
from ..pose.calibration_check import CalibrationCheck
from ..pose.integrity import IntegrityMonitor
from ..pose.plausibility import PlausibilityCheck
from ..pose.quarter_turns import QuarterTurnSearch
from ..pose.second_pass import SecondPass
from ..pose.solver import PoseSolver
from ..pose.tracking import Tracker
from ..stages import Embedder, Extractor, Matcher, Recogniser, Registration, Retriever
from ..structs import Candidates, Correspondences, Features
from .front import Front, open_front
from .method import MethodStages, Wiring
from .table import Settings, find_method

OpenEngines = Callable[[MapBundle, Arena, Settings], Engines]


@dataclass(frozen=True, kw_only=True)
class Line:
    """Every stage of a localiser, and the buffers between them."""

    bundle: MapBundle
    camera: Camera
    #: with the method's name filled in
    settings: Settings
    engines: Engines
    #: of the map, None where networks hold it
    points: PointMap | None
    features: FeatureSpec
    workers: Workers
    extractor: Extractor
    embedder: Embedder | None
    retriever: Retriever | None
    registration: Registration
    second_pass: SecondPass | None
    monitor: IntegrityMonitor
    plausibility: PlausibilityCheck
    tracker: Tracker | None
    calibration_check: CalibrationCheck | None
    #: for maps of turned photos
    turns: QuarterTurnSearch | None
    recogniser: Recogniser | None
    #: one for each frame in flight
    slots: tuple[Features, ...]
    candidates: Candidates
    matches: Correspondences

    @property
    def arena(self) -> Arena:
        """Of the host."""
        return self.engines.arena

    @property
    def gpu(self) -> Gpu | None:
        """Where something runs there."""
        return self.engines.gpu


def assemble(
    bundle: MapBundle,
    camera: Camera,
    settings: Settings,
    engines: Engines,
    front: Front | None = None,
) -> Line:
    """The line of a bundle's method for one camera; its arenas are sealed.

    engines: open the networks, and say where memory comes from. Planning calls this with
    engines that only know their sizes. front: that other maps of this feature network share;
    None opens one of its own. Raises EdgeRelocError when the bundle cannot serve the settings.
    """
    method = find_method(settings.method or bundle.manifest.method)
    settings = replace(settings, method=method.name)
    stages = method.open(bundle, engines, settings)
    spec = stages.features or bundle.manifest.features
    if front is None:
        front = open_front(
            spec,
            camera,
            settings,
            engines,
            embedding_dim=stages.embedder.dim if stages.embedder else 0,
            share_of_last_inliers=stages.share_of_last_inliers,
        )
    extractor, slots, workers = front.extractor, front.slots, front.workers
    if extractor.regresses != (stages.points is None):
        raise BundleError(
            f"{bundle.directory}: method {method.name} needs "
            f"{'descriptors' if stages.points else 'scene coordinates'} from network "
            f"'{spec.kind}', which gives the other; train the map again"
        )
    candidates = Candidates(engines.arena, stages.capacity, spec.keypoints)
    matches = Correspondences(engines.arena, spec.keypoints)
    matcher = None
    if stages.points is not None:
        source = extractor.device_descriptors if len(slots) == 1 else 0
        matcher = _matcher(stages.points, stages.capacity, spec, settings, engines, workers, source)
    wiring = _wiring(bundle, stages, spec, settings, engines, matcher)
    # Measured with map points, so it speaks of methods that use them.
    integrity = None if stages.points is None else bundle.manifest.integrity
    line = Line(
        bundle=bundle,
        camera=camera,
        settings=settings,
        engines=engines,
        points=stages.points,
        features=spec,
        workers=workers,
        extractor=extractor,
        embedder=stages.embedder,
        retriever=stages.retriever,
        registration=stages.registration(wiring),
        second_pass=wiring.second_pass,
        monitor=IntegrityMonitor(
            stages.points,
            bundle.manifest.world,
            integrity,
            risk=settings.integrity_risk,
            alert_limit_m=settings.alert_limit_m,
            max_tilt_deg=settings.max_tilt_deg,
        ),
        plausibility=PlausibilityCheck(
            stages.plausibility or (integrity.plausibility if integrity else None), wiring.solver
        ),
        tracker=front.tracker,
        calibration_check=front.calibration_check,
        turns=front.turns,
        recogniser=stages.recogniser,
        slots=slots,
        candidates=candidates,
        matches=matches,
    )
    engines.ready()
    engines.arena.seal()
    if engines.gpu is not None:
        engines.gpu.arena.seal()
    return line


def plan_line(bundle: MapBundle, camera: Camera, settings: Settings) -> Line:
    """The same put together without weights and memory, to see what it would take."""
    apart = bundle.apart()
    acceleration = choose_acceleration(bundle, settings)
    gpu = planned_gpu() if acceleration.uses_gpu else None
    engines: Engines
    if gpu is not None and acceleration.engine == "tensorrt":
        engines = PlannedTensorRtEngines(apart, Arena(), gpu, precision=settings.precision)
    else:
        engines = PlannedEngines(apart, Arena(), precision=settings.precision, gpu=gpu)
    return assemble(apart, camera, settings, engines)


def open_engines(bundle: MapBundle, arena: Arena, settings: Settings, gpu: Gpu | None) -> Engines:
    """Engines as the settings and the machine ask for; gpu: None where nothing runs there."""
    if gpu is not None and choose_acceleration(bundle, settings).engine == "tensorrt":
        return TensorRtEngines(
            bundle,
            arena,
            gpu,
            precision=settings.precision,
            trust=settings.trust_engines,
            host_code=settings.engine_host_code,
        )
    return Engines(bundle, arena, precision=settings.precision, threads=settings.threads, gpu=gpu)


def _matcher(
    points: PointMap,
    capacity: int,
    spec: FeatureSpec,
    settings: Settings,
    engines: Engines,
    workers: Workers,
    source: int,
) -> Matcher:
    """source: where the frame's descriptors lie on the GPU until they are matched, or 0."""
    similarity, ratio = _thresholds(spec, settings)
    on_gpu = choose_acceleration(engines.bundle, settings).matcher == "cuda"
    if engines.gpu is not None and on_gpu:
        return CudaMatcher(
            points,
            engines.gpu,
            keypoints=spec.keypoints,
            candidates=capacity,
            min_similarity=similarity,
            max_ratio=ratio,
            source=source,
        )
    return NearestMatcher(
        points,
        engines.arena,
        keypoints=spec.keypoints,
        candidates=capacity,
        block=settings.match_block,
        min_similarity=similarity,
        max_ratio=ratio,
        workers=workers,
    )


def _wiring(
    bundle: MapBundle,
    stages: MethodStages,
    spec: FeatureSpec,
    settings: Settings,
    engines: Engines,
    matcher: Matcher | None,
) -> Wiring:
    threshold = settings.threshold_px or stages.threshold_px
    ratio = max(settings.min_inlier_ratio, stages.min_inlier_ratio)
    std_deg = min(settings.max_rotation_std_deg, stages.max_rotation_std_deg)
    gate = replace(settings, min_inlier_ratio=ratio, max_rotation_std_deg=std_deg)
    solver = PoseSolver(
        threshold_px=threshold, gate=gate, seed=settings.seed, weighted=stages.weighted
    )
    refines = settings.second_pass
    if refines is None:
        own = bundle.manifest.methods.get(settings.method or "", {})
        refines = bool(own.get("second_pass", False))
    second_pass = None
    wanted = refines or stages.needs_second_pass or settings.tracking
    if stages.points is not None and wanted:
        coverage = settings.min_coverage
        second_pass = SecondPass(
            stages.points,
            engines.arena,
            solver,
            settings,
            seed=settings.seed,
            threshold_px=threshold,
            keypoints=spec.keypoints,
            min_similarity=_thresholds(spec, settings)[0],
            min_coverage=spec.min_coverage if coverage is None else coverage,
        )
    return Wiring(
        settings=settings,
        arena=engines.arena,
        matcher=matcher,
        solver=solver,
        second_pass=second_pass,
        refines=refines,
        threshold_px=threshold,
        capacity=stages.capacity,
        keypoints=spec.keypoints,
    )


def _thresholds(spec: FeatureSpec, settings: Settings) -> tuple[float, float]:
    """Similarity and ratio of a match: the settings', else the map's."""
    similarity, ratio = settings.min_similarity, settings.max_ratio
    return (
        spec.min_similarity if similarity is None else similarity,
        spec.max_ratio if ratio is None else ratio,
    )
