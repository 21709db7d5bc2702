"""Tracks: keypoints of several photos that are one point of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .matching import PairMatches


class Tracks:
    """Observations sorted by track.

    view, keypoint, track (O,) int32: photo index, keypoint row and track id
    (0..count-1, ascending). No track has two observations in one photo.
    """

    def __init__(
        self, view: NDArray[np.int32], keypoint: NDArray[np.int32], track: NDArray[np.int32]
    ) -> None:
        order = np.lexsort((view, track))
        self.view, self.keypoint = view[order], keypoint[order]
        _, compact = np.unique(track[order], return_inverse=True)
        self.track = compact.astype(np.int32)

    @property
    def count(self) -> int:
        return int(self.track[-1]) + 1 if len(self.track) else 0

    @property
    def length(self) -> NDArray[np.int64]:
        """Observations of each track, (T,)."""
        return np.bincount(self.track, minlength=self.count)

    def subset(self, keep: NDArray[np.bool_]) -> Tracks:
        """Only the observations where `keep` (O,) is true, renumbered."""
        return Tracks(self.view[keep], self.keypoint[keep], self.track[keep])

    def longer_than(self, length: int) -> Tracks:
        """Only tracks of at least `length` observations."""
        return self.subset(self.length[self.track] >= length)


def build_tracks(matches: Sequence[PairMatches], keypoints: Sequence[int]) -> Tracks:
    """Connected keypoints; a track that meets a photo twice is split.

    keypoints: number of keypoints of each photo. Splitting takes the most
    similar matches first and refuses every join that would put two keypoints
    of one photo into a track, so one wrong match cannot fuse two points.
    """
    offset = np.concatenate([[0], np.cumsum(keypoints)]).astype(np.int64)
    rows = [m.rows + [offset[m.pair[0]], offset[m.pair[1]]] for m in matches if len(m.rows)]
    edges = np.concatenate(rows) if rows else np.zeros((0, 2), np.int64)
    similarity = np.concatenate(
        [m.similarity for m in matches if len(m.rows)] or [np.zeros(0, np.float32)]
    )
    label = _components(edges, int(offset[-1]))
    nodes = np.unique(edges)
    view = (np.searchsorted(offset, nodes, side="right") - 1).astype(np.int32)
    pair_key = label[nodes] * len(keypoints) + view
    _, first, count = np.unique(pair_key, return_index=True, return_counts=True)
    conflicted = np.zeros(int(offset[-1]) + 1, bool)
    conflicted[label[nodes[first[count > 1]]]] = True
    redo = conflicted[label[edges[:, 0]]] if len(edges) else np.zeros(0, bool)
    view_of = np.empty(int(offset[-1]), np.int32)
    view_of[nodes] = view
    _join_greedily(edges[redo], similarity[redo], view_of, label)
    return Tracks(view, (nodes - offset[view]).astype(np.int32), label[nodes].astype(np.int32))


def _components(edges: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """Smallest node of each connected component, by pointer jumping."""
    label = np.arange(nodes)
    while True:
        low = np.minimum(label[edges[:, 0]], label[edges[:, 1]])
        new = label.copy()
        for side in (0, 1):
            np.minimum.at(new, label[edges[:, side]], low)
        new = new[new]
        if np.array_equal(new, label):
            return label
        label = new


def _join_greedily(
    edges: NDArray[np.int64],
    similarity: NDArray[np.float32],
    view_of: NDArray[np.int32],
    label: NDArray[np.int64],
) -> None:
    """Relabel the nodes of `edges` so that no track meets a photo twice."""
    parent: dict[int, int] = {n: n for n in np.unique(edges).tolist()}
    members: dict[int, set[int]] = {n: {int(view_of[n])} for n in parent}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for a, b in edges[np.argsort(-similarity, kind="stable")].tolist():
        a, b = root(a), root(b)
        if a == b or not members[a].isdisjoint(members[b]):
            continue
        if len(members[a]) < len(members[b]):
            a, b = b, a
        parent[b] = a
        members[a] |= members.pop(b)
    for node in parent:
        label[node] = root(node)
