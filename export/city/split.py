"""Photos divided into tiles that overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F64, I64

OVERLAP = 0.2  # of a tile's photos that are its neighbours' own
LEAST = 12  # of them: what two seams need
ROUNDS = 500  # of the power iteration: enough for a cut that is nearly the best
BRIDGE = 1e-3  # weight between photos taken one after the other, of the median pair's


@dataclass(frozen=True)
class Part:
    """Photos of one tile, as ascending rows."""

    core: I64  #: its own: every photo is of one core
    rows: I64  #: with those that it shares


def split_by_position(centre: F64, most: int) -> list[Part]:
    """Tiles of at most `most` photos taken at centre (V,3), which overlap in place."""
    from pykdtree.kdtree import KDTree

    def along(rows: I64) -> F64:
        away = centre[rows] - centre[rows].mean(axis=0)
        return np.asarray(away @ np.linalg.svd(away, full_matrices=False)[2][0])

    parts = []
    for core in _cores(len(centre), most, along):
        others = np.setdiff1d(np.arange(len(centre)), core)
        room = min(_room(core, most), len(others))
        if room > 0:
            distance, _ = KDTree(np.ascontiguousarray(centre[core])).query(centre[others], k=1)
            others = others[np.argsort(distance, kind="stable")[:room]]
        parts.append(Part(core, np.union1d(core, others[: max(room, 0)])))
    return parts


def split_by_matches(count: int, pairs: I64, weight: F64, most: int) -> list[Part]:
    """Tiles of at most `most` of `count` photos, cut where few matches hold them together.

    pairs (E,2): rows; weight (E,): how much two photos share. Halved again and again by the
    second eigenvector of the normalised cut (Shi and Malik, PAMI 2000), found by power iteration
    from the order of capture. A tile takes from each neighbour the photos that share most with
    it, the more of those that it shares more with.
    """
    bridge = BRIDGE * float(np.median(weight)) if len(weight) else 1.0
    step = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    joined = np.concatenate([pairs, step])
    strength = np.concatenate([weight, np.full(len(step), bridge)])

    def across(rows: I64) -> F64:
        place = np.full(count, -1)
        place[rows] = np.arange(len(rows))
        inside = (place[joined] >= 0).all(axis=1)
        return _second_eigenvector(len(rows), place[joined[inside]], strength[inside])

    cores = _cores(count, most, across)
    owner = np.empty(count, np.int64)
    for number, core in enumerate(cores):
        owner[core] = number
    return [
        Part(core, np.union1d(core, _shared(number, owner, pairs, weight, _room(core, most))))
        for number, core in enumerate(cores)
    ]


def _room(core: I64, most: int) -> int:
    """For photos that a tile shares."""
    wanted = max(LEAST, int(np.ceil(len(core) * OVERLAP / (1 - OVERLAP))))
    return min(wanted, most - len(core))


def _cores(count: int, most: int, order: Callable[[I64], F64]) -> list[I64]:
    """Rows of each tile's own photos. order: along what some rows are cut in two."""
    if count <= most:
        return [np.arange(count)]
    tiles = int(np.ceil(count / (most * (1 - OVERLAP))))

    def divide(rows: I64, tiles: int) -> list[I64]:
        if tiles == 1:
            return [np.sort(rows)]
        first = tiles // 2
        rows = rows[np.argsort(order(rows), kind="stable")]
        cut = round(len(rows) * first / tiles)
        return divide(np.sort(rows[:cut]), first) + divide(np.sort(rows[cut:]), tiles - first)

    return sorted(divide(np.arange(count), tiles), key=lambda core: int(core[0]))


def _second_eigenvector(count: int, pairs: I64, weight: F64) -> F64:
    """(count,) of D^-1/2 W D^-1/2, divided by D^1/2: what the best cut goes along."""
    i, j = pairs[:, 0], pairs[:, 1]
    degree = np.bincount(i, weight, count) + np.bincount(j, weight, count)
    root = np.sqrt(np.maximum(degree, 1e-12))
    share = weight / (root[i] * root[j])
    first = root / np.linalg.norm(root)
    vector = (np.arange(count) - (count - 1) / 2) * root
    for _ in range(ROUNDS):
        vector = vector - (vector @ first) * first
        vector /= max(float(np.linalg.norm(vector)), 1e-300)
        spread = np.bincount(i, share * vector[j], count) + np.bincount(j, share * vector[i], count)
        vector = (vector + spread) / 2  # no eigenvalue is negative then
    return np.asarray(vector / root)


def _shared(number: int, owner: I64, pairs: I64, weight: F64, room: int) -> I64:
    """At most `room` photos of other tiles that share most with this one."""
    bond = np.zeros(len(owner))
    for here, there in ((0, 1), (1, 0)):
        crossing = (owner[pairs[:, here]] == number) & (owner[pairs[:, there]] != number)
        np.add.at(bond, pairs[crossing, there], weight[crossing])
    of_tile = np.bincount(owner, bond)
    chosen: list[I64] = []
    for other in np.flatnonzero(of_tile).tolist():
        quota = int(np.ceil(room * of_tile[other] / of_tile.sum()))
        rows = np.flatnonzero((owner == other) & (bond > 0))
        chosen.append(rows[np.argsort(-bond[rows], kind="stable")[:quota]])
    rows = np.concatenate([*chosen, np.zeros(0, np.int64)]).astype(np.int64)
    return rows[np.argsort(-bond[rows], kind="stable")[: max(room, 0)]]


def neighbours(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """Pairs of tiles that share photos."""
    return [
        (a, b)
        for a in range(len(parts))
        for b in range(a + 1, len(parts))
        if len(np.intersect1d(parts[a].rows, parts[b].rows, assume_unique=True))
    ]
