"""Tiles that were placed apart, brought into one world by the points that they share.

A photo of two tiles has the same keypoints in both, and keypoints that see a point in both tie
the tiles together. Each pair of neighbours gives a similarity that most of these agree on; all
similarities are then adjusted together, so that the seams of a round trip share what is left:
a pose graph of tiles with scale, after Strasdat et al., RSS 2010.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F64, I64
from edge_reloc.geometry.rigid import camera_centre, pose_error, so3_exp

from ..scene.model import SceneModel
from ..scene.similarity import Similarity, robust_similarity

FEWEST = 50  # shared points that agree, for a seam
AGREEING = 0.5  # of the shared points, that must
MOST = 1500  # shared points that a seam is found by, and
ADJUSTED = 300  # that it is adjusted by
ROUNDS = 30
WRONG = 0.5  # of the spread of its points: a seam that ends so far apart loses its weight


@dataclass(frozen=True, kw_only=True)
class Seam:
    """What ties two tiles together: K points in the frame of each, and what they agree on."""

    first: int
    second: int
    xyz_first: F64  #: (K,3)
    xyz_second: F64  #: (K,3)
    first_from_second: Similarity
    shared: int  #: points before any was left out
    noise: float  #: median distance of the points in the first one's unit


def find_seam(first: int, a: SceneModel, second: int, b: SceneModel) -> Seam | None:
    """The seam of two tiles; None where too few points agree on one."""
    ids = _shared_points(a, b)
    if len(ids) < FEWEST:
        return None
    rows = np.random.default_rng(0).permutation(len(ids))[:MOST]
    xyz_a, xyz_b = a.xyz[ids[rows, 0]], b.xyz[ids[rows, 1]]
    fit = robust_similarity(xyz_b, xyz_a)
    agree = fit.inlier
    if agree.sum() < max(FEWEST, AGREEING * len(rows)):
        return None
    return Seam(
        first=first,
        second=second,
        xyz_first=xyz_a[agree],
        xyz_second=xyz_b[agree],
        first_from_second=fit.similarity,
        shared=len(ids),
        noise=max(float(np.median(fit.residual[agree])), 1e-9),
    )


def _shared_points(a: SceneModel, b: SceneModel) -> I64:
    """(K,2) ids of points in both models that a keypoint of a shared photo says are one."""
    other = {view.name: view for view in b.views}
    found = [np.zeros((0, 2), np.int64)]
    for view in a.views:
        same = other.get(view.name)
        if same is None or same.quarter_turns != view.quarter_turns:
            continue
        _, rows, others = np.intersect1d(view.keypoint, same.keypoint, return_indices=True)
        found.append(np.stack([view.point_id[rows], same.point_id[others]], axis=1))
    ids = np.unique(np.concatenate(found), axis=0)
    for side in (0, 1):  # a point that is two in the other tile tells nothing
        _, inverse, count = np.unique(ids[:, side], return_inverse=True, return_counts=True)
        ids = ids[count[inverse] == 1]
    return np.asarray(ids, np.int64)


def adjust_tiles(seams: Sequence[Seam], tiles: Iterable[int]) -> dict[int, Similarity]:
    """World from tile, of the tiles that hang together; the world is the best tied one's frame.

    Gauss-Newton over all similarities. Residuals are in the frame and unit of one tile of a
    seam, so that no shrinking makes them smaller; Huber's weights for points, and a seam that
    ends far apart, as of places that look alike, counts for less and less (Geman and McClure).
    """
    world_from, anchor = _spanned(seams, tiles)
    inside = [s for s in seams if s.first in world_from and s.second in world_from]
    order = sorted(world_from)
    row_of = {tile: row for row, tile in enumerate(order)}
    free = np.repeat([tile != anchor for tile in order], 7)
    for _ in range(ROUNDS if free.any() else 0):
        normal, right = np.zeros((7 * len(order),) * 2), np.zeros(7 * len(order))
        for seam in inside:
            for a, b, xyz_a, xyz_b, noise in _both_ways(seam):
                rows = np.r_[7 * row_of[a] : 7 * row_of[a] + 7, 7 * row_of[b] : 7 * row_of[b] + 7]
                hessian, gradient = _terms(world_from[a], world_from[b], xyz_a, xyz_b, noise)
                normal[np.ix_(rows, rows)] += hessian
                right[rows] += gradient
        step = np.zeros(7 * len(order))
        inner = normal[np.ix_(free, free)]
        inner += 1e-9 * np.diag(np.diag(inner)) + 1e-12 * np.eye(len(inner))
        step[free] = -np.linalg.solve(inner, right[free])
        for tile, change in zip(order, step.reshape(-1, 7), strict=True):
            world_from[tile] = _moved(world_from[tile], change)
        if np.abs(step).max() < 1e-10:
            break
    return world_from


def _spanned(seams: Sequence[Seam], tiles: Iterable[int]) -> tuple[dict[int, Similarity], int]:
    """World from tile along the seams of most points, of the largest set that hangs together.

    With the tile whose frame the world is.
    """
    best: dict[int, Similarity] = {}
    anchor = 0
    left = set(tiles)
    while left:
        bonds = {t: sum(len(s.xyz_first) for s in seams if t in (s.first, s.second)) for t in left}
        start = max(sorted(left), key=bonds.__getitem__)
        found = {start: Similarity(scale=1.0, rotation=np.eye(3), translation=np.zeros(3))}
        while True:
            edges = [s for s in seams if (s.first in found) != (s.second in found)]
            if not edges:
                break
            seam = max(edges, key=lambda s: len(s.xyz_first))
            if seam.first in found:
                found[seam.second] = found[seam.first].after(seam.first_from_second)
            else:
                found[seam.first] = found[seam.second].after(seam.first_from_second.inverse())
        left -= set(found)
        if len(found) > len(best):
            best, anchor = found, start
    return best, anchor


def _both_ways(seam: Seam) -> list[tuple[int, int, F64, F64, float]]:
    step = max(1, len(seam.xyz_first) // ADJUSTED)
    a, b = seam.xyz_first[::step], seam.xyz_second[::step]
    there = seam.noise / seam.first_from_second.scale
    return [(seam.first, seam.second, a, b, seam.noise), (seam.second, seam.first, b, a, there)]


def _terms(
    world_from_a: Similarity, world_from_b: Similarity, xyz_a: F64, xyz_b: F64, noise: float
) -> tuple[F64, F64]:
    """Normal matrix (14,14) and gradient (14,) of points of b seen from a, tile a first.

    A small motion (turn w, shift u, growth g) takes a world point p to p + w x p + u + g p.
    """
    point = world_from_b.apply(xyz_b)
    residual = (world_from_a.inverse().apply(point) - xyz_a) / noise
    size = np.linalg.norm(residual, axis=1)
    weight = np.minimum(1.0, 3.0 / np.maximum(size, 1e-12))
    far = WRONG * float(np.linalg.norm(xyz_a.std(axis=0))) / noise
    weight *= (1.0 + (float(np.median(size)) / far) ** 2) ** -2
    x, y, z = point.T
    nothing = np.zeros_like(x)
    motion = np.zeros((len(point), 3, 7))
    motion[:, :, :3] = np.stack([nothing, z, -y, -z, nothing, x, y, -x, nothing], 1).reshape(
        -1, 3, 3
    )
    motion[:, :, 3:6], motion[:, :, 6] = np.eye(3), point
    by_b = world_from_a.rotation.T @ motion / (world_from_a.scale * noise)
    jacobian = np.concatenate([-by_b, by_b], axis=2)
    hessian = np.einsum("k,kri,krj->ij", weight, jacobian, jacobian)
    return np.asarray(hessian), np.asarray(np.einsum("k,kri,kr->i", weight, jacobian, residual))


def _moved(similarity: Similarity, change: F64) -> Similarity:
    turn, growth = so3_exp(change[:3]), float(np.exp(change[6]))
    return Similarity(
        scale=growth * similarity.scale,
        rotation=turn @ similarity.rotation,
        translation=growth * turn @ similarity.translation + change[3:6],
    )


@dataclass(frozen=True)
class SeamError:
    """How far two tiles disagree about photos that both hold, in one world."""

    photos: int
    share: float  #: median of the positions' difference, of the distance to what is seen
    turn_deg: float  #: median


def seam_error(a: SceneModel, b: SceneModel) -> SeamError | None:
    """Of two tiles in one world; None where they share no photo."""
    other = {view.name: view for view in b.views}
    shares, turns = [], []
    for view in a.views:
        same = other.get(view.name)
        if same is None or not len(view.point_id):
            continue
        away = a.xyz[view.point_id] - camera_centre(view.cam_from_world)
        error = pose_error(same.cam_from_world, view.cam_from_world)
        shares.append(error.translation / float(np.median(np.linalg.norm(away, axis=1))))
        turns.append(error.rotation_deg)
    if not shares:
        return None
    return SeamError(len(shares), float(np.median(shares)), float(np.median(turns)))
