"""Points from tracks under known poses, all tracks at once.

Per track: hypotheses (all rays; some pairs of rays) scored by truncated
squared reprojection error, as in MSAC (Torr and Zisserman, CVIU 2000), then
Gauss-Newton on the observations that agree (Hartley and Zisserman, 2nd ed.,
chapter 12).

Not by pycolmap.triangulate_points: in its maps of a kitchen, made of the same matches
under six settings, 1 to 3 % of the queries find no pose (here none), 79 to 87 % are right
(here 91), medians are 1.5 to 2.0 cm (here 1.1), after 1.1 to 5 times the time:
docs/results.md, tests/benchmarks/triangulation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64

from .matching import PairMatches
from .tracks import Tracks
from .view_geometry import ViewGeometry


@dataclass(frozen=True, kw_only=True)
class TriangulationOptions:
    """Acceptance of matches and points.

    epipolar_px, reprojection_px: at 1024 px, in proportion for larger photos.
    min_angle_deg: between the two rays of a point that differ most.
    min_length: photos that must see a point. pair_hypotheses: pairs of rays
    tried for each track. seed: of their choice.
    """

    epipolar_px: float = 3.0
    reprojection_px: float = 2.5
    min_angle_deg: float = 1.5
    min_length: int = 3
    pair_hypotheses: int = 6
    refinements: int = 4
    seed: int = 0


def check_epipolar(
    matches: Sequence[PairMatches],
    geometry: ViewGeometry,
    xy_px: Sequence[NDArray[np.float32]],
    options: TriangulationOptions,
) -> list[PairMatches]:
    """Only the matches that fit the known poses (Sampson distance, px).

    xy_px: keypoints of each photo.
    """
    rays = [geometry.rays(np.full(len(xy), view, np.int32), xy) for view, xy in enumerate(xy_px)]
    kept = []
    for match in matches:
        i, j = match.pair
        first, second = rays[i][match.rows[:, 0]], rays[j][match.rows[:, 1]]
        rotation = geometry.rotation[j] @ geometry.rotation[i].T
        x, y, z = geometry.translation[j] - rotation @ geometry.translation[i]
        essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
        line2 = first @ essential[:, :2].T + essential[:, 2]
        line1 = second @ essential[:2] + essential[2]
        value = (second * line2[:, :2]).sum(axis=1) + line2[:, 2]
        slope = (line2[:, :2] ** 2).sum(axis=1) + (line1[:, :2] ** 2).sum(axis=1)
        camera_i = geometry.cameras[geometry.camera_of[i]]
        camera_j = geometry.cameras[geometry.camera_of[j]]
        focal_px = 0.25 * (camera_i.fx + camera_i.fy + camera_j.fx + camera_j.fy)
        distance_px = np.abs(value) / np.sqrt(np.maximum(slope, 1e-18)) * focal_px
        tolerance = max(geometry.tolerance[i], geometry.tolerance[j])
        good = distance_px < options.epipolar_px * tolerance
        kept.append(
            PairMatches(pair=match.pair, rows=match.rows[good], similarity=match.similarity[good])
        )
    return kept


@dataclass(frozen=True, kw_only=True)
class Triangulation:
    """xyz (T,3), error_px (O,) and angle_deg (T,) of `tracks` (inliers only)."""

    tracks: Tracks
    xyz: F64
    error_px: F64
    angle_deg: F64


def triangulate(
    tracks: Tracks,
    geometry: ViewGeometry,
    xy_px: Sequence[NDArray[np.float32]],
    options: TriangulationOptions,
) -> Triangulation:
    """Points of all tracks that pass the checks; outlying observations go."""
    tracks = tracks.longer_than(options.min_length)
    offset = np.concatenate([[0], np.cumsum([len(xy) for xy in xy_px])])
    everything = np.concatenate([*xy_px, np.zeros((0, 2), np.float32)]).astype(np.float64)
    observed = everything[offset[tracks.view] + tracks.keypoint]
    direction = geometry.directions(tracks.view, geometry.rays(tracks.view, observed))
    limit = options.reprojection_px * geometry.tolerance[tracks.view]
    xyz = _best_hypothesis(tracks, geometry, observed, direction, limit, options)
    for _ in range(options.refinements):
        inlier = _error(tracks, geometry, xyz, observed) < 2.0 * limit
        xyz = _gauss_newton_step(tracks, geometry, xyz, observed, inlier)
    error = _error(tracks, geometry, xyz, observed)
    inlier = error < limit
    for _ in range(2):  # the point moves once the outliers no longer pull
        xyz = _gauss_newton_step(tracks, geometry, xyz, observed, inlier)
        error = _error(tracks, geometry, xyz, observed)
        inlier = error < limit
    angle = widest_angle_deg(tracks.track, direction, inlier, tracks.count)
    length = np.bincount(tracks.track[inlier], minlength=tracks.count)
    good = (length >= options.min_length) & (angle >= options.min_angle_deg)
    good &= np.isfinite(xyz).all(axis=1)
    keep = inlier & good[tracks.track]
    return Triangulation(
        tracks=tracks.subset(keep), xyz=xyz[good], error_px=error[keep], angle_deg=angle[good]
    )


def widest_angle_deg(
    track: NDArray[np.int32], direction: F64, use: NDArray[np.bool_], count: int
) -> F64:
    """Widest angle (T,) between the rays of each track, `use` rows only.

    Farthest from the mean first, then farthest from that one: exact for rays
    on an arc, within a factor of 2 below otherwise.
    """
    mean = sum_by(track[use], direction[use], count)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    reference = mean
    for _ in range(2):
        cosine = np.where(use, (direction * reference[track]).sum(axis=1), 2.0)
        order = np.lexsort((cosine, track))
        first = np.searchsorted(track[order], np.arange(count))
        reference = direction[order[first]] if count else reference
    smallest = cosine[order[first]] if count else np.zeros(0)
    return np.asarray(np.degrees(np.arccos(np.clip(smallest, -1.0, 1.0))))


def retriangulated(
    tracks: Tracks, geometry: ViewGeometry, xyz: F64, observed: F64, *, steps: int = 4
) -> F64:
    """Points (T,3) where these observations alone see them, begun at xyz (T,3).

    observed (O,2): pixels of the rows of `tracks`.
    """
    everything = np.ones(len(observed), bool)
    for _ in range(steps):
        xyz = _gauss_newton_step(tracks, geometry, xyz, observed, everything)
    return xyz


def sum_by(track: NDArray[np.int32], values: F64, count: int) -> F64:
    """Sums (T, ...) of rows (O, ...) by track."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    columns = [np.bincount(track, flat[:, c], minlength=count) for c in range(flat.shape[1])]
    summed = np.stack(columns, axis=1).astype(np.float64)  # bincount of nothing is int
    return summed.reshape(count, *values.shape[1:])


def _error(tracks: Tracks, geometry: ViewGeometry, xyz: F64, observed: F64) -> F64:
    return np.asarray(
        np.linalg.norm(geometry.residual(tracks.view, xyz[tracks.track], observed), axis=1)
    )


def _nearest_to_rays(track: NDArray[np.int32], centre: F64, direction: F64, count: int) -> F64:
    """Point (T,3) with the least squared distance to the rays of each track."""
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    normal = sum_by(track, across, count) + 1e-9 * np.eye(3)
    right = sum_by(track, np.einsum("oij,oj->oi", across, centre), count)
    return np.asarray(np.linalg.solve(normal, right[:, :, None])[:, :, 0])


def _best_hypothesis(
    tracks: Tracks,
    geometry: ViewGeometry,
    observed: F64,
    direction: F64,
    limit: F64,
    options: TriangulationOptions,
) -> F64:
    rng = np.random.default_rng(options.seed)
    count, length = tracks.count, tracks.length
    start = np.concatenate([[0], np.cumsum(length)])[:-1]
    centre = geometry.centre[tracks.view]
    best = _nearest_to_rays(tracks.track, centre, direction, count)
    cost = _cost(tracks, geometry, best, observed, limit)
    for _ in range(options.pair_hypotheses):
        first = rng.integers(0, length)
        second = (first + rng.integers(1, np.maximum(length, 2))) % length
        rows = np.stack([start + first, start + second], axis=1).ravel()
        pair = np.repeat(np.arange(count, dtype=np.int32), 2)
        xyz = _nearest_to_rays(pair, centre[rows], direction[rows], count)
        new = _cost(tracks, geometry, xyz, observed, limit)
        better = new < cost
        best[better], cost[better] = xyz[better], new[better]
    return best


def _cost(tracks: Tracks, geometry: ViewGeometry, xyz: F64, observed: F64, limit: F64) -> F64:
    ratio = _error(tracks, geometry, xyz, observed) / limit
    cost = np.bincount(tracks.track, np.minimum(ratio, 1.0) ** 2, minlength=tracks.count)
    return np.asarray(cost, np.float64)


def _gauss_newton_step(
    tracks: Tracks, geometry: ViewGeometry, xyz: F64, observed: F64, inlier: NDArray[np.bool_]
) -> F64:
    view, track = tracks.view[inlier], tracks.track[inlier]
    residual = geometry.residual(view, xyz[track], observed[inlier])
    jacobian = geometry.jacobian(view, xyz[track])
    normal = sum_by(track, jacobian.transpose(0, 2, 1) @ jacobian, tracks.count)
    gradient = sum_by(track, np.einsum("oij,oi->oj", jacobian, residual), tracks.count)
    damping = 1e-9 * np.trace(normal, axis1=1, axis2=2) + 1e-12
    normal += damping[:, None, None] * np.eye(3)
    return np.asarray(xyz - np.linalg.solve(normal, gradient[:, :, None])[:, :, 0])
