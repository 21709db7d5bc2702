"""Longer tracks: what the points tell about photos that were not matched."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64

from ..photos.features import FeatureStore
from .tracks import Tracks
from .triangulate import Triangulation, TriangulationOptions, triangulate
from .view_geometry import ViewGeometry

log = logging.getLogger(__name__)

SEARCH_PX = 2.0  # at 1024 px
NEAREST_KEYPOINTS = 4
SIMILARITY_QUANTILE = 0.1  # of the observations that are already there
MAX_VIEW_ANGLE_DEG = 45.0


def complete_tracks(
    result: Triangulation,
    geometry: ViewGeometry,
    store: FeatureStore,
    xy_px: Sequence[NDArray[np.float32]],
    options: TriangulationOptions,
) -> Triangulation:
    """Attach free keypoints where points project; merge points that coincide.

    A keypoint is taken when it lies within SEARCH_PX of the projection and is
    as similar to the point's mean descriptor as nine tenths of the point's
    own kind are. A keypoint of another point counts as a vote to merge both.
    All tracks are then triangulated again under the same checks.
    """
    tracks = result.tracks
    if not tracks.count:
        return result
    mean, similarity = _mean_descriptors(tracks, geometry, store)
    threshold = float(np.quantile(similarity, SIMILARITY_QUANTILE))
    towards = geometry.centre[tracks.view] - result.xyz[tracks.track]
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    normal = np.zeros((tracks.count, 3))
    np.add.at(normal, tracks.track, towards)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    added: list[NDArray[np.int32]] = []
    votes: list[NDArray[np.int32]] = []
    for view, keypoints in enumerate(xy_px):
        owner = np.full(len(keypoints), -1, np.int32)
        here = tracks.view == view
        owner[tracks.keypoint[here]] = tracks.track[here]
        point, keypoint = _candidates(
            view, geometry, result.xyz, normal, tracks.track[here], keypoints
        )
        if not len(point):
            continue
        descriptor = store.get(geometry.views[view].name).descriptor
        alike = np.einsum("kd,kd->k", mean[point], descriptor[keypoint].astype(np.float32))
        good = alike >= threshold
        point, keypoint, alike = point[good], keypoint[good], alike[good]
        free = owner[keypoint] < 0
        votes.append(np.stack([point[~free], owner[keypoint[~free]]], axis=1))
        point, keypoint = _one_to_one(point[free], keypoint[free], alike[free])
        added.append(np.stack([np.full(len(point), view), keypoint, point], axis=1))
    new = np.concatenate([*added, np.zeros((0, 3))]).astype(np.int32)
    label = _merge(tracks, np.concatenate([*votes, np.zeros((0, 2))]).astype(np.int64))
    grown = _without_repeats(
        np.concatenate([tracks.view, new[:, 0]]),
        np.concatenate([tracks.keypoint, new[:, 1]]),
        label[np.concatenate([tracks.track, new[:, 2]])].astype(np.int32),
    )
    again = triangulate(grown, geometry, xy_px, options)
    log.info(
        "completion: %d observations attached, %d points merged, %d points",
        len(new),
        tracks.count - len(np.unique(label)),
        len(again.xyz),
    )
    return again


def _mean_descriptors(
    tracks: Tracks, geometry: ViewGeometry, store: FeatureStore
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit mean (T,D) float32, and the similarity of each observation to it."""
    mean = np.zeros((tracks.count, store.spec.dim), np.float32)
    rows_of = [np.flatnonzero(tracks.view == v) for v in range(len(geometry.views))]
    for rows, view in zip(rows_of, geometry.views, strict=True):
        # A track meets a photo once, so plain indexing adds every row.
        mean[tracks.track[rows]] += store.get(view.name).descriptor[tracks.keypoint[rows]]
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    similarity = np.empty(len(tracks.track), np.float32)
    for rows, view in zip(rows_of, geometry.views, strict=True):
        descriptor = store.get(view.name).descriptor[tracks.keypoint[rows]].astype(np.float32)
        similarity[rows] = (mean[tracks.track[rows]] * descriptor).sum(axis=1)
    return mean, similarity


def _candidates(
    view: int,
    geometry: ViewGeometry,
    xyz: F64,
    normal: F64,
    known: NDArray[np.int32],
    keypoints: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Points and keypoints of a photo that lie within SEARCH_PX."""
    from pykdtree.kdtree import KDTree

    nothing = np.zeros(0, np.int64)
    if len(keypoints) < NEAREST_KEYPOINTS:
        return nothing, nothing
    rows, projected = geometry.visible(view, xyz)
    ray = geometry.centre[view] - xyz[rows]
    cosine = (ray * normal[rows]).sum(axis=1) / np.maximum(np.linalg.norm(ray, axis=1), 1e-12)
    new = np.ones(len(xyz), bool)
    new[known] = False
    keep = (cosine > np.cos(np.radians(MAX_VIEW_ANGLE_DEG))) & new[rows]
    rows, projected = rows[keep], projected[keep]
    if not len(rows):
        return nothing, nothing
    limit = SEARCH_PX * geometry.tolerance[view]
    distance, near = KDTree(keypoints.astype(np.float64)).query(
        np.ascontiguousarray(projected), k=NEAREST_KEYPOINTS
    )
    row, column = np.nonzero(distance < limit)
    return rows[row], near[row, column].astype(np.int64)


def _one_to_one(
    point: NDArray[np.int64], keypoint: NDArray[np.int64], alike: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that are each other's most similar partner."""
    order = np.argsort(-alike, kind="stable")
    point, keypoint = point[order], keypoint[order]
    best = np.zeros(len(point), bool)
    best[np.unique(point, return_index=True)[1]] = True
    also = np.zeros(len(point), bool)
    also[np.unique(keypoint, return_index=True)[1]] = True
    return point[best & also], keypoint[best & also]


def _merge(tracks: Tracks, votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Track ids (T,) after joining tracks that projected onto each other.

    Most votes first; tracks that share a photo stay apart.
    """
    label = np.arange(tracks.count)
    votes = np.sort(votes, axis=1)
    pairs, count = np.unique(votes, axis=0, return_counts=True)
    start = np.searchsorted(tracks.track, np.arange(tracks.count + 1))
    photos: dict[int, set[int]] = {}

    def seen(track: int) -> set[int]:
        if track not in photos:
            photos[track] = set(tracks.view[start[track] : start[track + 1]].tolist())
        return photos[track]

    def root(track: int) -> int:
        while label[track] != track:
            track = int(label[track])
        return track

    for a, b in pairs[np.argsort(-count, kind="stable")].tolist():
        a, b = root(a), root(b)
        if a != b and seen(a).isdisjoint(seen(b)):
            photos[a] = seen(a) | seen(b)
            label[b] = a
    return np.array([root(track) for track in range(tracks.count)], np.int64)


def _without_repeats(
    view: NDArray[np.int32], keypoint: NDArray[np.int32], track: NDArray[np.int32]
) -> Tracks:
    """Tracks of rows, the first one kept where a track meets a photo twice."""
    _, first = np.unique(np.stack([track, view]), axis=1, return_index=True)
    first.sort()
    return Tracks(view[first], keypoint[first], track[first])
