"""Which photos to match with which."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_reloc.arrays import F32, F64

from ..photos.features import FeatureStore
from .matching import Pair, match_pairs
from .tracks import build_tracks
from .triangulate import TriangulationOptions, check_epipolar, triangulate
from .view_geometry import ViewGeometry

log = logging.getLogger(__name__)

ALL_PAIRS_UP_TO = 60  # photos; 1770 pairs, some 20 s on two cores
PAIRS_PER_PHOTO = 30
SEQUENCE_WINDOW = 6
SCOUT_RANKS = (0, 1, 3, 6, 10, 15, 21, 28)  # near ones connect, far ones have parallax
SCOUT_POINTS = 20_000
MAX_VIEW_ANGLE_DEG = 50.0  # a descriptor rarely survives a larger change of viewpoint
MIN_OVERLAP = 0.1
VLAD_WORDS = 32
KNOWN_SHARE = 0.8  # of the positions, from which on they choose pairs
ROWS_AT_ONCE = 512  # of distances between all photos, which would fill the memory
REACH = 3.0  # times the distance of the median photo's last neighbour


def all_pairs(count: int) -> list[Pair]:
    """Every photo with every other."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def pairs_by_similarity(
    vectors: F32, *, window: int = SEQUENCE_WINDOW, per_photo: int = PAIRS_PER_PHOTO
) -> list[Pair]:
    """Neighbours in the sequence plus the most similar photos.

    vectors (V,E) float32 of unit length, in order of capture.
    """
    count = len(vectors)
    pairs = {(i, j) for i in range(count) for j in range(i + 1, min(count, i + window + 1))}
    for i in range(count):
        similarity = vectors @ vectors[i]
        similarity[i] = -np.inf
        for j in np.argsort(-similarity, kind="stable")[: min(per_photo, count - 1)].tolist():
            pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def global_vectors(store: FeatureStore, names: Sequence[str]) -> F32:
    """One unit vector (V,E) for each photo: VLAD of its local descriptors.

    Jégou et al., CVPR 2010, with a small vocabulary learnt here; intra
    normalisation of Arandjelović and Zisserman, CVPR 2013.
    """
    import cv2

    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(names))[:64]
    sample = np.concatenate(
        [store.get(names[i]).descriptor[:512].astype(np.float32) for i in chosen]
    )
    words = min(VLAD_WORDS, len(sample))
    if words < 2:
        return np.zeros((len(names), 1), np.float32)
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_MAX_ITER, 15, 0.0)
    _, _, centres = cv2.kmeans(sample, words, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    out = np.zeros((len(names), words * sample.shape[1]), np.float32)
    half = (centres**2).sum(axis=1) / 2
    for row, name in enumerate(names):
        descriptor = store.get(name).descriptor.astype(np.float32)
        nearest = (descriptor @ centres.T - half).argmax(axis=1)
        vlad = np.zeros_like(centres)
        np.add.at(vlad, nearest, descriptor - centres[nearest])
        vlad /= np.maximum(np.linalg.norm(vlad, axis=1, keepdims=True), 1e-9)
        out[row] = vlad.ravel() / max(float(np.linalg.norm(vlad)), 1e-9)
    return out


def pairs_without_poses(
    store: FeatureStore, names: Sequence[str], near: Sequence[F64 | None] | None = None
) -> list[Pair]:
    """All pairs of a small set, otherwise sequence, similarity and rough positions (3,)."""
    if len(names) <= ALL_PAIRS_UP_TO:
        return all_pairs(len(names))
    pairs = pairs_by_similarity(global_vectors(store, names))
    return pairs if near is None else pairs_by_position(pairs, near)


def pairs_by_position(
    pairs: Sequence[Pair], near: Sequence[F64 | None], *, per_photo: int = PAIRS_PER_PHOTO
) -> list[Pair]:
    """With the nearest photos, and without pairs farther apart than neighbours ever are.

    near: rough positions (3,), None where unknown. What looks alike and lies far away is the
    same crop in another field. Where most positions are unknown, or all are one place, they
    say nothing, and the pairs stay.
    """
    known = np.array([row for row, xyz in enumerate(near) if xyz is not None], np.int64)
    if len(known) < KNOWN_SHARE * len(near):
        return list(pairs)
    xyz = np.array([near[row] for row in known], np.float64)
    rank = min(per_photo, len(known) - 1)
    order = np.empty((len(known), rank), np.int64)
    farthest = np.empty(len(known))
    for start in range(0, len(known), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        far = np.linalg.norm(xyz[rows, None] - xyz[None], axis=2)
        order[rows] = np.argsort(far, axis=1, kind="stable")[:, 1 : rank + 1]
        farthest[rows] = np.take_along_axis(far, order[rows, -1:], axis=1)[:, 0]
    reach = REACH * float(np.median(farthest))
    if reach < 1e-6:
        return list(pairs)
    place = {int(row): index for index, row in enumerate(known)}
    chosen = {
        (i, j)
        for i, j in pairs
        if i not in place
        or j not in place
        or np.linalg.norm(xyz[place[i]] - xyz[place[j]]) <= reach
    }
    for index, others in enumerate(order.tolist()):
        for other in others:
            i, j = sorted((int(known[index]), int(known[other])))
            chosen.add((i, j))
    return sorted(chosen)


def pairs_with_poses(
    store: FeatureStore,
    geometry: ViewGeometry,
    xy_px: Sequence[F32],
    options: TriangulationOptions,
    *,
    progress: bool = True,
) -> list[Pair]:
    """Pairs that see the same points from not too different directions.

    Small sets: all pairs. Otherwise a few pairs by pose are matched first,
    and the rough points that they give tell which photos overlap.
    """
    count = len(geometry.views)
    if count <= ALL_PAIRS_UP_TO:
        return all_pairs(count)
    names = [view.name for view in geometry.views]
    scouts = _scout_pairs(geometry)
    matches = match_pairs(store, names, scouts, progress=progress)
    matches = check_epipolar(matches, geometry, xy_px, options)
    tracks = build_tracks(matches, [len(xy) for xy in xy_px])
    rough = triangulate(
        tracks, geometry, xy_px, replace(options, min_length=2, refinements=1, pair_hypotheses=3)
    )
    keep = np.random.default_rng(0).permutation(len(rough.xyz))[:SCOUT_POINTS]
    sees = np.zeros((len(rough.xyz), 3))
    observer = geometry.centre[rough.tracks.view] - rough.xyz[rough.tracks.track]
    observer /= np.linalg.norm(observer, axis=1, keepdims=True)
    np.add.at(sees, rough.tracks.track, observer)
    pairs = set(pairs_by_overlap(geometry, rough.xyz[keep], sees[keep]))
    log.info("%d scouting pairs, %d rough points", len(scouts), len(rough.xyz))
    return sorted(pairs | set(scouts))


def _scout_pairs(geometry: ViewGeometry) -> list[Pair]:
    """By distance and viewing direction, at spread ranks."""
    count = len(geometry.centre)
    axis = geometry.rotation[:, 2]
    pairs = set()
    far = np.linalg.norm(geometry.centre[:, None] - geometry.centre[None], axis=2)
    scale = max(float(np.median(np.sort(far, axis=1)[:, min(10, count - 1)])), 1e-12)
    for i in range(count):
        angle = np.degrees(np.arccos(np.clip(axis @ axis[i], -1, 1)))
        cost = far[i] / scale + angle / 15.0
        cost[i] = np.inf
        order = np.argsort(cost, kind="stable")
        order = order[np.isfinite(cost[order]) & (angle[order] < 60.0)]
        for rank in SCOUT_RANKS:
            if rank < len(order):
                j = int(order[rank])
                pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def pairs_by_overlap(geometry: ViewGeometry, xyz: F64, towards_observers: F64) -> list[Pair]:
    """Pairs by how many of the points (S,3) both see, and from how different directions."""
    count = len(geometry.centre)
    sees = np.zeros((count, len(xyz)), np.float32)
    depth = np.full(count, np.inf)
    normal = towards_observers / np.maximum(
        np.linalg.norm(towards_observers, axis=1, keepdims=True), 1e-12
    )
    for i in range(count):
        rows, _ = geometry.visible(i, xyz)
        ray = geometry.centre[i] - xyz[rows]
        distance = np.linalg.norm(ray, axis=1)
        frontal = (ray * normal[rows]).sum(axis=1) > distance * np.cos(
            np.radians(MAX_VIEW_ANGLE_DEG)
        )
        sees[i, rows[frontal]] = 1.0
        if frontal.any():
            depth[i] = np.median(distance[frontal])
    common = sees @ sees.T
    own = np.maximum(np.diag(common), 1.0)
    pairs = set()
    for i in range(count):
        overlap = common[i] / np.minimum(own[i], own)
        baseline = np.linalg.norm(geometry.centre - geometry.centre[i], axis=1)
        parallax_deg = np.degrees(2 * np.arctan(baseline / (2 * np.minimum(depth[i], depth))))
        score = overlap * np.exp(-((parallax_deg / 30.0) ** 2))
        score[i] = 0.0
        order = np.argsort(-score, kind="stable")
        order = order[score[order] > MIN_OVERLAP]
        near = PAIRS_PER_PHOTO // 3
        rest = order[near:]
        step = np.unique(np.linspace(0, len(rest) - 1, PAIRS_PER_PHOTO - near).astype(int))
        chosen = np.concatenate([order[:near], rest[step] if len(rest) else rest])
        for j in chosen.tolist():
            pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)
