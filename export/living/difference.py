"""What two maps of a place differ in: points, cells, photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F32, F64, I64
from edge_reloc.bundle import MapBundle, layout
from edge_reloc.bundle.points import PointMap, open_points
from edge_reloc.delta.runs import find_items
from edge_reloc.errors import MappingError

SAME_PLACE = 0.004  # of the map's extent, within which a point of the same look is the same
SAME_LOOK = 0.85  # cosine of the descriptors


@dataclass(frozen=True, kw_only=True)
class Difference:
    """From map A with P points to map B with Q points, in one world."""

    a: F64  #: (P,3)
    b: F64  #: (Q,3)
    kept: I64  #: (S,2): rows in A and B of points that are in both
    moved: F64  #: (S,): how far they lie from where they were, world units
    cell: I64  #: (P,): of A's points
    cell_of_added: I64  #: of B's points that are not in A, the nearest of A's cells
    centre: F64  #: (K,3), of A's cells
    photos: tuple[int, int, int]  #: in both, only in A, only in B, by their embeddings

    @property
    def retired(self) -> I64:
        """Rows of A."""
        return np.setdiff1d(np.arange(len(self.a)), self.kept[:, 0])

    @property
    def added(self) -> I64:
        """Rows of B."""
        return np.setdiff1d(np.arange(len(self.b)), self.kept[:, 1])

    def by_cell(self) -> dict[str, I64]:
        """Of each of A's cells (K,): points that stay, that went, that came."""
        count = len(self.centre)
        return {
            "kept": np.bincount(self.cell[self.kept[:, 0]], minlength=count),
            "retired": np.bincount(self.cell[self.retired], minlength=count),
            "added": np.bincount(self.cell_of_added, minlength=count),
        }

    def values(self) -> dict[str, Any]:
        """JSON-ready."""
        moved = self.moved[self.moved > 0]
        cells = self.by_cell()
        return {
            "points": [len(self.a), len(self.b)],
            "kept": len(self.kept),
            "moved": len(moved),
            "moved_median": float(np.median(moved)) if len(moved) else 0.0,
            "moved_largest": float(moved.max(initial=0.0)),
            "retired": len(self.retired),
            "added": len(self.added),
            "photos": dict(zip(("both", "only_first", "only_second"), self.photos, strict=True)),
            "cells": [
                {"centre": centre.tolist(), **{name: int(n[k]) for name, n in cells.items()}}
                for k, centre in enumerate(self.centre)
            ],
        }


def compare_maps(first: MapBundle, second: MapBundle) -> Difference:
    """Compare two maps. Raises MappingError for those of different features."""
    one, two = first.manifest.features, second.manifest.features
    if (one.kind, one.dim, one.weights_sha256) != (two.kind, two.dim, two.weights_sha256):
        raise MappingError(
            f"{first.directory} and {second.directory}: of different features ('{one.kind}' and "
            f"'{two.kind}'), whose points cannot be compared"
        )
    a, b = open_points(first), open_points(second)
    xyz_a, xyz_b = a.xyz.astype(np.float64), b.xyz.astype(np.float64)
    kept = _same_to_the_bit(a, b)
    look_a = a.decode(a.descriptor, np.empty(a.descriptor.shape, np.float32))
    look_b = b.decode(b.descriptor, np.empty(b.descriptor.shape, np.float32))
    again = _found_again(xyz_a, xyz_b, look_a, look_b, kept)
    kept = np.concatenate([kept, again])
    kept = kept[np.argsort(kept[:, 0], kind="stable")]
    start, centre = a.cell_start, a.cell_centre.astype(np.float64)
    added = np.setdiff1d(np.arange(len(xyz_b)), kept[:, 1])
    nearest = KDTree(centre).query(np.ascontiguousarray(xyz_b[added]), k=1)[1] if len(added) else []
    return Difference(
        a=xyz_a,
        b=xyz_b,
        kept=kept,
        moved=np.linalg.norm(xyz_a[kept[:, 0]] - xyz_b[kept[:, 1]], axis=1),
        cell=np.repeat(np.arange(len(start) - 1), np.diff(start)).astype(np.int64),
        cell_of_added=np.asarray(nearest, np.int64),
        centre=centre,
        photos=_photos(first, second),
    )


def _same_to_the_bit(a: PointMap, b: PointMap) -> I64:
    """Rows (S,2) of points with the same place and descriptor."""
    if a.descriptor.dtype != b.descriptor.dtype:
        return np.zeros((0, 2), np.int64)
    rows = [
        np.hstack([np.ascontiguousarray(array).view(np.uint8) for array in (p.xyz, p.descriptor)])
        for p in (a, b)
    ]
    source = find_items(*rows)
    found = np.flatnonzero(source >= 0)
    _, first = np.unique(source[found], return_index=True)
    return np.stack([source[found[first]], found[first]], axis=1)


def _found_again(a: F64, b: F64, look_a: F32, look_b: F32, kept: I64) -> I64:
    """Rows (S,2) of other points that are each other's nearest, and look alike."""
    left_a = np.setdiff1d(np.arange(len(a)), kept[:, 0])
    left_b = np.setdiff1d(np.arange(len(b)), kept[:, 1])
    if not len(left_a) or not len(left_b):
        return np.zeros((0, 2), np.int64)
    reach = SAME_PLACE * float(np.linalg.norm(np.ptp(np.percentile(a, [2, 98], axis=0), axis=0)))
    distance, there = KDTree(np.ascontiguousarray(b[left_b])).query(
        np.ascontiguousarray(a[left_a]), k=1
    )
    back = KDTree(np.ascontiguousarray(a[left_a])).query(np.ascontiguousarray(b[left_b]), k=1)[1]
    mutual = back[there.astype(np.int64)] == np.arange(len(left_a))
    pairs = np.stack([left_a, left_b[there.astype(np.int64)]], axis=1)
    alike = (look_a[pairs[:, 0]] * look_b[pairs[:, 1]]).sum(axis=1) >= SAME_LOOK
    return np.asarray(pairs[mutual & alike & (distance <= reach)])


def _photos(first: MapBundle, second: MapBundle) -> tuple[int, int, int]:
    """In both, only in the first, only in the second: by their embeddings."""
    a, b = first.array(layout.VIEW_EMBEDDING), second.array(layout.VIEW_EMBEDDING)
    both = 0
    if a.shape[1:] == b.shape[1:] and a.dtype == b.dtype:
        rows = [np.ascontiguousarray(array).view(np.uint8) for array in (a, b)]
        found = find_items(*rows)
        both = len(np.unique(found[found >= 0]))
    return both, len(a) - both, len(b) - both
