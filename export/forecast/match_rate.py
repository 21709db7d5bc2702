"""How often a point in view is matched: learnt from mapping photos that are left out.

A photo's neighbourhood is taken for not mapped, and what is left says how the photo would see
the points; whether it did see them is known. A logistic regression of that (ridge, Newton's
steps) is the rate; how far a photo's matches lie from the sum of its rates is kept, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import MappingError
from edge_reloc.pose.point_noise import MEDIAN_SQUARE
from edge_reloc.pose.refine import MIN_SIGMA_PX, cluster_inflation

from ..integrity.leave_out import neighbourhoods
from .seen_from import RIGHT_ANGLE, Observations, Seen

SHARES = (0.02, 0.12, 0.3, 0.5)  # of the photos, left out at once
NEIGHBOURHOODS, PHOTOS = 4, 6  # of each share; looked at in each
RIDGE, STEPS = 1.0, 12
UNLIKE = np.array([1, 2, 3, 4, 6])  # of `Seen.features`: angles, distances, hidden
FEWEST_PHOTOS = 8
# Photos seldom tell of views that differ much. There nothing matches: seen at right angles, or
# from six times as far or as near as any photo; each counts as so many points.
BEYOND_RAD, BEYOND_LOG, BEYOND_POINTS = RIGHT_ANGLE, np.log(6.0), 300.0
FEWEST_MATCHES = 4.0  # of a photo, by rates: fewer tell little of the scatter


@dataclass(frozen=True, kw_only=True)
class MatchRate:
    """What is known of a map's matches."""

    weight: F64  #: (7,) of `Seen.features`
    #: standard deviation of the logarithm of matches over the sum of their rates
    scatter: float
    #: standard deviation of a keypoint along one axis, pixels of the mapping photos
    keypoint_px: float
    #: of a pose's variance, for errors that neighbouring points share
    inflation: float

    def of(self, seen: Seen) -> F64:
        """(M,): chance of a match; none from behind, nor through what is seen from behind."""
        possible = (seen.angle_rad < RIGHT_ANGLE) & ~seen.blocked
        return np.where(possible, _logistic(seen.features @ self.weight), 0.0)


def learn_rate(observations: Observations) -> MatchRate:
    """Raises MappingError for too few photos."""
    views = [n for n, view in enumerate(observations.views) if len(view.point_id)]
    if len(views) < FEWEST_PHOTOS:
        raise MappingError(
            f"{len(views)} photos see points of this map, {FEWEST_PHOTOS} are needed to learn "
            f"how often points are matched; map more photos"
        )
    tries = list(_left_out(observations))
    weight = _fit(np.concatenate([f for f, _ in tries]), np.concatenate([m for _, m in tries]))
    logs = []
    for features, matched in tries:
        expected = float(_logistic(features @ weight).sum())
        if expected >= FEWEST_MATCHES:
            logs.append(np.log(max(float(matched.sum()), 1.0) / expected))
    keypoint_px, inflation = _residuals(observations)
    return MatchRate(
        weight=weight,
        scatter=float(np.std(logs)) if logs else 1.0,
        keypoint_px=keypoint_px,
        inflation=inflation,
    )


def _left_out(observations: Observations) -> list[tuple[F64, F64]]:
    """Features (M,7) and whether it was matched (M,), of each photo that is tried."""
    views, found = observations.views, []
    for share in SHARES:
        for out in neighbourhoods(views, observations.xyz, NEIGHBOURHOODS, share):
            without = np.zeros(len(views), bool)
            without[out] = True
            for index in out[:: max(len(out) // PHOTOS, 1)][:PHOTOS]:
                view = views[index]
                seen = observations.seen(view.camera, view.cam_from_world, without)
                if len(seen.ids):
                    matched = np.isin(seen.ids, view.point_id).astype(np.float64)
                    found.append((seen.features, matched))
    return found


def _fit(features: F64, matched: F64) -> F64:
    """Weights (7,) of the logistic regression; what is unlike mapping never helps."""
    beyond = np.zeros((3, features.shape[1]))
    beyond[:, 0], beyond[:, 5] = 1.0, float(features[:, 5].mean())
    beyond[0, 1:3] = BEYOND_RAD, BEYOND_RAD**2
    beyond[1, 3] = beyond[2, 4] = BEYOND_LOG
    rows = np.concatenate([features, beyond])
    hits = np.concatenate([matched, np.zeros(3)])
    count = np.concatenate([np.ones(len(features)), np.full(3, BEYOND_POINTS)])
    used = np.ones(rows.shape[1], bool)
    while True:
        weight = np.zeros(rows.shape[1])
        weight[used] = _newton(rows[:, used], hits, count)
        helps = UNLIKE[weight[UNLIKE] > 0]
        if not len(helps):
            return weight
        used[helps] = False


def _newton(rows: F64, hits: F64, count: F64) -> F64:
    weight = np.zeros(rows.shape[1])
    ridge = RIDGE * np.eye(len(weight))
    for _ in range(STEPS):
        rate = _logistic(rows @ weight)
        curvature = (rows * (count * rate * (1.0 - rate))[:, None]).T @ rows + ridge
        weight += np.linalg.solve(curvature, rows.T @ (count * (hits - rate)) - ridge @ weight)
    return weight


def _residuals(observations: Observations) -> tuple[float, float]:
    """How exact the photos' keypoints are, and how much their errors are shared."""
    squares, inflations = [], []
    for view in observations.views:
        if len(view.point_id) < 12:
            continue
        xyz = observations.xyz[view.point_id]
        pose = view.cam_from_world
        away = view.camera.project(xyz @ pose[:3, :3].T + pose[:3, 3]) - view.xy_px
        squared = (away**2).sum(axis=1)
        scale = max(1.5**2 * float(np.median(squared)), MIN_SIGMA_PX**2)
        robust = 1.0 / (1.0 + squared / scale)
        variance = (robust @ squared) / max(2.0 * robust.sum() - 6.0, 1.0)
        expected = 2.0 * max(variance, MIN_SIGMA_PX**2) * float(robust @ robust)
        observed = view.xy_px.T.astype(np.float64)
        inflations.append(
            cluster_inflation(view.camera, observed, (away * robust[:, None]).T, expected)
        )
        squares.append(float(np.median(squared)))
    if not squares:
        return 1.0, 1.0
    sigma = max(float(np.sqrt(np.median(squares) / MEDIAN_SQUARE)), MIN_SIGMA_PX)
    return sigma, float(np.median(inflations))


def _logistic(x: F64) -> F64:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))
