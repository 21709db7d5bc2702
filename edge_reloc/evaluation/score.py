"""Run one method over one scene and score it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..arrays import I32, Array
from ..bundle.reader import MapBundle
from ..geometry.rigid import compose, pose_error
from ..localizer import Localizer
from ..structs import Status
from ..tiles.any_map import open_on
from .chosen import Chosen
from .claims import Claim, claim_of, nees_by_axis
from .dataset import Dataset, map_origin
from .recognition import RecognitionJudge, open_judge
from .thresholds import Threshold


@dataclass(kw_only=True)
class Score:
    """One row of the table."""

    scene: str
    map: str
    #: as on the command line, for example cells+2
    method: str
    queries: int
    ok: int
    #: share (0..1) of all queries inside each threshold
    within: dict[str, float]
    #: of all queries, a query without a trusted pose counting as infinitely far off; None
    #: when half of them or more are so. Map units.
    median_error: float | None
    median_deg: float | None
    #: of the queries with status OK alone; None without one
    median_error_ok: float | None
    median_deg_ok: float | None
    #: one map unit is one metre
    metric: bool
    #: median distance of the cameras from what they look at, map units
    scene_size: float
    #: mean over the queries
    candidates: float
    #: 0 for methods that use none
    map_points: int
    #: (p50, p95) by stage
    stages_ms: dict[str, tuple[float, float]]
    total_ms: tuple[float, float]
    map_mb: float
    #: queries by status
    statuses: dict[str, int]
    #: by query: name, status, translation error (map units), rotation error (deg), inliers
    errors: list[tuple[str, str, float, float, int]] = field(default_factory=list)
    #: inlier map points by query
    found: list[I32] = field(default_factory=list)
    #: mean share of keypoints that get their landmark (top-1), None without landmarks
    recognised: float | None = None
    #: share of the poses whose error lies where their covariance says 95% do, None for none
    covered: float | None = None
    #: median of what the poses claim of their position: its standard deviation, map units
    sigma: float | None = None
    #: by axis, mean square of the errors in standard deviations: 1 if the claims are true
    nees: dict[str, float] | None = None
    #: poses whose protection levels are known, and those of them whose error exceeds one
    levelled: int = 0
    misleading: int = 0
    #: median of the larger of the horizontal and the vertical protection level, metres
    level_m: float | None = None
    #: by pose; error and level are horizontal, vertical, heading
    claims: list[Claim] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, without the inlier lists; None for the infinite."""
        values = asdict(self)
        del values["found"]
        values["errors"] = [
            [None if isinstance(part, float) and not np.isfinite(part) else part for part in row]
            for row in self.errors
        ]
        return values


def score_method(
    bundle: MapBundle,
    dataset: Dataset,
    method: Chosen,
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
    claims: list[Claim] = []
    gravity = bundle.manifest.world.gravity
    down = None if gravity is None else np.array(gravity)
    origin = map_origin(dataset, bundle.manifest)
    fresh = bundle.apart()
    frames = dataset.frames(grey=not bundle.manifest.sees_colour)
    for done, (query, frame) in enumerate(frames):
        camera = frame.camera
        assert camera is not None  # a data set's frames have one
        if camera not in localizers:
            localizers[camera] = open_on(fresh, camera, method.settings)
            judges[camera] = open_judge(localizers[camera])
            localizers[camera].warm_up(frame)
        localizer = localizers[camera]
        result = localizer.localize(frame)
        estimate = result.estimate
        reference = query.cam_from_world @ compose(np.eye(3), -origin)
        error = float("inf"), 180.0
        if estimate.cam_from_world is not None:
            error = pose_error(estimate.cam_from_world, reference)
        claim = claim_of(estimate, reference, down)
        claims += [] if claim is None else [claim]
        results.append((query.name, estimate.status.value, error[0], error[1], estimate.inliers))
        ids = np.zeros(0, np.int32)
        if estimate.status is Status.OK and estimate.inlier_index is not None:
            ids = np.unique(result.matches.point_id[estimate.inlier_index])
            ids = ids[ids >= 0]
        found.append(ids)
        judge = judges[camera]
        if judge is not None:
            share = judge.judge(camera, result, reference)
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
    all_error, all_deg = medians(np.where(ok[:, None], errors, np.inf))
    ok_error, ok_deg = medians(errors[ok])
    statuses = {s: sum(r[1] == s for r in results) for s in sorted({r[1] for r in results})}
    levels = [max(c.level[:2]) for c in claims if c.level is not None]
    return Score(
        scene=dataset.name,
        map=bundle.directory.name,
        method=method.text,
        queries=len(results),
        ok=int(ok.sum()),
        within={
            t.text: float(
                (
                    ok & (errors[:, 0] <= t.limit(scene_size)) & (errors[:, 1] <= t.rotation_deg)
                ).mean()
            )
            for t in thresholds
        },
        median_error=all_error,
        median_deg=all_deg,
        median_error_ok=ok_error,
        median_deg_ok=ok_deg,
        metric=bundle.manifest.world.metric,
        scene_size=scene_size,
        candidates=float(np.mean(candidates)),
        map_points=0 if points is None else points.n,
        stages_ms={s: _spread(values) for s, values in stages.items()},
        total_ms=_spread(totals),
        map_mb=fresh.nbytes(fresh.used) / 1e6,
        statuses=statuses,
        errors=results,
        found=found,
        recognised=float(np.mean(recognised)) if recognised else None,
        covered=float(np.mean([c.covered for c in claims])) if claims else None,
        sigma=float(np.median([c.sigma for c in claims])) if claims else None,
        nees=nees_by_axis(claims),
        levelled=len(levels),
        misleading=sum(c.misleading for c in claims),
        level_m=float(np.median(levels)) if levels else None,
        claims=claims,
    )


def medians(errors: Array) -> tuple[float | None, float | None]:
    """Of the columns of (N,2); None where they are infinite, or there are no rows."""
    if not len(errors):
        return None, None
    upper = np.sort(errors, axis=0)[len(errors) // 2]
    lower = np.sort(errors, axis=0)[(len(errors) - 1) // 2]
    first, second = ((upper + lower) / 2).tolist()
    return (first if np.isfinite(first) else None), (second if np.isfinite(second) else None)


def _spread(values: list[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(values, [50, 95])
    return round(float(p50), 2), round(float(p95), 2)
