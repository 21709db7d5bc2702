"""Labels of sampled cells: where in space (structural), and what they look like (semantic).

SS-DVR, section 3.1: k-means on 3-D coordinates, mini-batch k-means on features (eq. 4, 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F32, I64

from ...progress import open_bar
from .samples import CellSamples

SAMPLE = 50_000
BATCH = 20_000
ROUNDS = 60  # of mini-batches; the centres stand still by then
LEAST_SCALE = 1e-3  # of the median label's
LEAST_SPREAD = 0.1  # of the median feature's
UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Labels of T cells, and what the network is told of L structural labels and C features."""

    structural: I64  #: (T,), UNKNOWN where depth is
    semantic: I64  #: (T,), never unknown
    semantics: int  #: how many semantic labels
    centre: F32  #: (L,3) of the structural labels, world
    scale: F32  #: (L,): median distance from the centre
    mean: F32  #: (C,) of the features
    spread: F32  #: (C,) of the features


def partition(
    samples: CellSamples,
    *,
    structural: int,
    semantic: int,
    part: NDArray[np.intp] | None = None,
) -> Partition:
    """Labels for every cell, `structural` for each part.

    part (V,): which of several places put together a photo is of; None for one place.
    K-means over all of them would give every label to the largest. Without any known depth
    there is one structural label, about the mean of what lies at the usual depth before the
    cameras.
    """
    generator = np.random.default_rng(0)
    some = np.sort(generator.permutation(len(samples.view))[:SAMPLE])
    seen = samples.feature[some].astype(np.float32)
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    # What hardly ever speaks must not shout when it does.
    spread = np.maximum(spread, LEAST_SPREAD * np.median(spread) + 1e-6)
    labels = np.full(len(samples.view), UNKNOWN, np.int64)
    known = np.flatnonzero(samples.depth > 0)
    if len(known):
        xyz = samples.xyz_world(known)
        of_part = np.zeros(len(known), np.intp) if part is None else part[samples.view[known]]
        centres = []
        for k in np.unique(of_part):
            mine = xyz[of_part == k]
            centres.append(_kmeans(mine[generator.permutation(len(mine))[:SAMPLE]], structural))
        centre = np.concatenate(centres)
        label = labels[known] = KDTree(centre).query(xyz, k=1)[1].astype(np.int64)
        scale = _median_by(label, np.linalg.norm(xyz - centre[label], axis=1), len(centre))
    else:
        ahead = samples.usual_depth[:, None] * [0.0, 0.0, 1.0] - samples.translation
        there = np.einsum("vji,vj->vi", samples.rotation, ahead)
        centre = there.mean(axis=0, keepdims=True).astype(np.float32)
        scale = np.array([0.5 * np.median(samples.usual_depth)], np.float32)
    appearance = _minibatch_kmeans(samples, mean, spread, semantic, generator)
    return Partition(
        structural=labels,
        semantic=appearance,
        semantics=semantic,
        centre=centre,
        scale=scale,
        mean=mean,
        spread=spread,
    )


def _median_by(label: I64, value: NDArray[np.floating[Any]], count: int) -> F32:
    """Median (count,) of the values of each label; of all where a label has none."""
    found = np.full(count, np.median(value), np.float32)
    order = np.lexsort((value, label))
    start = np.searchsorted(label[order], np.arange(count + 1))
    some = np.diff(start) > 0
    found[some] = value[order][((start[:-1] + start[1:]) // 2)[some]]
    return np.maximum(found, LEAST_SCALE * np.median(found))


def _kmeans(xyz: F32, count: int) -> F32:
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-4)
    _, _, centre = cv2.kmeans(
        np.ascontiguousarray(xyz), min(count, len(xyz)), None, criteria, 1, cv2.KMEANS_PP_CENTERS
    )
    return np.asarray(centre, np.float32)


def _minibatch_kmeans(
    samples: CellSamples, mean: F32, spread: F32, count: int, generator: np.random.Generator
) -> I64:
    """Label (T,): centres move by the mean of a mini-batch, less and less (Sculley, 2010)."""
    total = len(samples.view)
    if count < 2:
        return np.zeros(total, np.int64)

    def features(rows: NDArray[np.intp] | slice) -> F32:
        # By torch, which converts several times as fast as numpy; the numbers are the same.
        found = torch.from_numpy(samples.feature[rows]).float()
        return found.sub_(torch.from_numpy(mean)).div_(torch.from_numpy(spread)).numpy()

    centre = features(np.sort(generator.permutation(total)[:count]))
    seen = np.zeros(count)
    label = np.empty(total, np.int64)
    starts = range(0, total, BATCH)
    with open_bar(ROUNDS + len(starts), "labels by looks", "step") as bar:
        for _ in range(ROUNDS):
            batch = features(np.sort(generator.integers(0, total, min(BATCH, total))))
            nearest = _nearest(batch, centre)
            for k in range(count):
                mine = batch[nearest == k]
                if len(mine):
                    seen[k] += len(mine)
                    centre[k] += (len(mine) / seen[k]) * (mine.mean(axis=0) - centre[k])
            bar.update()
        for start in starts:
            rows = slice(start, start + BATCH)
            label[rows] = _nearest(features(rows), centre)
            bar.update()
    return label


def _nearest(feature: F32, centre: F32) -> NDArray[np.intp]:
    return np.asarray((feature @ centre.T - 0.5 * (centre**2).sum(axis=1)).argmax(axis=1))
