"""Run one method over one scene and score it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..bundle.reader import MapBundle
from ..errors import ConfigError
from ..geometry.rigid import compose, normalised_error, pose_error
from ..localizer import Localizer
from ..settings import Settings
from ..structs import I32, Status
from .dataset import Dataset
from .recognition import RecognitionJudge, open_judge
from .thresholds import Threshold

CHI_SQUARE_95 = 12.592  # of six degrees of freedom


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """A method as written on the command line, for example cells+2."""

    text: str
    settings: Settings


@dataclass(kw_only=True)
class Score:
    """One row of the table. Errors are over frames with status OK.

    within: share (0..1) of all queries inside each threshold. median_error in map units.
    covered: share of the poses whose error lies where their covariance says 95% do; None for
    no pose. map_points: 0 for methods that use none. recognised: mean share of keypoints that
    get their landmark (top-1), None for methods without landmarks. stages_ms: (p50, p95) by
    stage. found: inlier map points by query, when asked for.
    """

    scene: str
    map: str
    method: str
    queries: int
    ok: int
    within: dict[str, float]
    median_error: float
    median_deg: float
    candidates: float
    map_points: int
    stages_ms: dict[str, tuple[float, float]]
    total_ms: tuple[float, float]
    map_mb: float
    statuses: dict[str, int]
    errors: list[tuple[str, str, float, float, int]] = field(default_factory=list)
    found: list[I32] = field(default_factory=list)
    recognised: float | None = None
    covered: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, without the inlier lists."""
        values = asdict(self)
        del values["found"]
        return values


def parse_method(text: str, base: Settings) -> MethodSpec:
    """`name[:option][+2][+t]`: option is the number of images, candidates or landmarks.

    exhaustive, image_retrieval:10, cells, cells:4000, generative, landmarks:20,
    landmark_wise:5, and +2 for the pose-guided second pass, +t for tracking.
    """
    from dataclasses import replace

    name, *extras = text.split("+")
    if set(extras) - {"2", "t"}:
        raise ConfigError(
            f"method '{text}': after '+' only '2' (second pass) and 't' (tracking) are known"
        )
    name, _, option = name.partition(":")
    values: dict[str, Any] = {"second_pass": "2" in extras, "tracking": "t" in extras}
    if name in ("cells", "generative"):
        values |= {"method": "visible_structure", "head": name}
    elif name == "landmark_wise":
        values |= {"method": "landmarks", "registration": name}
    elif name == "landmarks":
        values |= {"method": "landmarks", "registration": "one_pass"}
    else:
        values["method"] = name
    if option:
        if not option.isdigit():
            raise ConfigError(f"method '{text}': '{option}' is not a number")
        counted = {"image_retrieval": "images", "landmarks": "landmarks"}
        counted["landmark_wise"] = "landmarks"
        values[counted.get(name, "candidates")] = int(option)
    return MethodSpec(text=text, settings=replace(base, **values))


def score_method(
    bundle: MapBundle,
    dataset: Dataset,
    method: MethodSpec,
    thresholds: tuple[Threshold, ...],
    progress: Callable[[int], None] = lambda done: None,
) -> Score:
    """Localise every query and compare with its reference pose."""
    localizers: dict[Any, Localizer] = {}
    judges: dict[Any, RecognitionJudge | None] = {}
    recognised: list[float] = []
    results: list[tuple[str, str, float, float, int]] = []
    found: list[I32] = []
    stages: dict[str, list[float]] = {}
    totals: list[float] = []
    candidates: list[int] = []
    scene_size = dataset.size()
    covered: list[bool] = []
    origin = np.asarray((bundle.manifest.world.parts or {}).get(dataset.name, np.zeros(3)))
    fresh = MapBundle(bundle.directory, bundle.manifest)
    for done, (query, frame) in enumerate(dataset.frames()):
        if frame.camera not in localizers:
            localizers[frame.camera] = Localizer.open(fresh, frame.camera, method.settings)
            judges[frame.camera] = open_judge(localizers[frame.camera])
            localizers[frame.camera].warm_up(frame)
        localizer = localizers[frame.camera]
        estimate = localizer.localize(frame)
        reference = query.cam_from_world @ compose(np.eye(3), -origin)
        error = float("inf"), 180.0
        if estimate.cam_from_world is not None and estimate.covariance is not None:
            error = pose_error(estimate.cam_from_world, reference)
            squared = normalised_error(estimate.cam_from_world, estimate.covariance, reference)
            covered.append(squared <= CHI_SQUARE_95)
        results.append((query.name, estimate.status.value, error[0], error[1], estimate.inliers))
        ids = np.zeros(0, np.int32)
        if estimate.status is Status.OK and estimate.inlier_index is not None:
            ids = np.unique(localizer.correspondences.point_id[estimate.inlier_index])
            ids = ids[ids >= 0]
        found.append(ids)
        judge = judges[frame.camera]
        if judge is not None:
            share = judge.judge(frame.camera, reference)
            recognised += [] if share is None else [share]
        for stage, ms in estimate.stages_ms.items():
            stages.setdefault(stage, []).append(ms)
        totals.append(sum(estimate.stages_ms.values()))
        candidates.append(estimate.candidates)
        progress(done + 1)
    points = next(iter(localizers.values())).points
    for localizer in localizers.values():
        localizer.close()
    errors = np.array([[r[2], r[3]] for r in results])
    ok = np.array([r[1] == Status.OK.value for r in results])
    median = np.median(errors[ok], axis=0) if ok.any() else np.array([np.nan, np.nan])
    statuses = {s: sum(r[1] == s for r in results) for s in sorted({r[1] for r in results})}
    return Score(
        scene=dataset.name,
        map=bundle.directory.name,
        method=method.text,
        queries=len(results),
        ok=int(ok.sum()),
        within={
            t.text: float(
                ((errors[:, 0] <= t.limit(scene_size)) & (errors[:, 1] <= t.rotation_deg)).mean()
            )
            for t in thresholds
        },
        median_error=float(median[0]),
        median_deg=float(median[1]),
        candidates=float(np.mean(candidates)),
        map_points=0 if points is None else points.n,
        stages_ms={s: _spread(values) for s, values in stages.items()},
        total_ms=_spread(totals),
        map_mb=fresh.nbytes(fresh.used) / 1e6,
        statuses=statuses,
        errors=results,
        found=found,
        recognised=float(np.mean(recognised)) if recognised else None,
        covered=float(np.mean(covered)) if covered else None,
    )


def _spread(values: list[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(values, [50, 95])
    return round(float(p50), 2), round(float(p95), 2)
