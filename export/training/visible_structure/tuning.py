"""Recall against size: how much of what a photo sees is found in how many points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F32, F64, I32

SHARES = np.array([0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0])
TARGET_RECALL = 0.9
FEWEST_CANDIDATES, LARGEST_SHARE = 1500, 0.3


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Recall over the share of the map that is returned, at S shares."""

    share: F64  #: (S,) of the map returned
    recall: F64  #: (S,) of the visible points found

    def candidates(self, points: int) -> int:
        """Capacity that reaches the target recall, within sensible bounds.

        The smallest share of the map with 90 % recall on held-out photos, at
        most 30 % of the map, at least 1500 points.
        """
        enough = np.flatnonzero(self.recall >= TARGET_RECALL)
        share = self.share[enough[0]] if len(enough) else LARGEST_SHARE
        count = int(np.ceil(min(share, LARGEST_SHARE) * points))
        return min(max(count, FEWEST_CANDIDATES), points)


def cells_curve(
    predicted: F32,
    seen: list[I32],
    cell_start: I32,
) -> Curve:
    """Curve of cells taken by predicted share (V,K) for the points seen (V lists)."""
    sizes = np.diff(cell_start)
    points = int(cell_start[-1])
    cell_of_point = np.repeat(np.arange(len(sizes)), sizes)
    recall = np.zeros((len(seen), len(SHARES)))
    for row, (share, ids) in enumerate(zip(predicted, seen, strict=True)):
        order = np.argsort(-share, kind="stable")
        found = np.bincount(cell_of_point[ids], minlength=len(sizes))[order]
        returned = np.cumsum(sizes[order]) / points
        recall[row] = np.interp(
            SHARES,
            np.concatenate([[0], returned]),
            np.concatenate([[0], np.cumsum(found) / max(len(ids), 1)]),
        )
    return Curve(share=SHARES, recall=recall.mean(axis=0))


def distance_curve(distances: list[F32], seen: list[I32], radii: F64) -> tuple[Curve, F64]:
    """Curve over radii, and the radii at SHARES.

    distances: per photo, of every map point (P,) to the nearest sample.
    """
    share = np.zeros((len(seen), len(radii)))
    recall = np.zeros((len(seen), len(radii)))
    for row, (distance, ids) in enumerate(zip(distances, seen, strict=True)):
        share[row] = (distance[None] <= radii[:, None]).mean(axis=1)
        recall[row] = (distance[ids][None] <= radii[:, None]).mean(axis=1)
    mean_share, mean_recall = share.mean(axis=0), recall.mean(axis=0)
    return (
        Curve(share=SHARES, recall=np.interp(SHARES, mean_share, mean_recall)),
        np.interp(SHARES, mean_share, radii),
    )
