"""Labels of sampled cells: where in space (structural), and what they look like (semantic).

SS-DVR, section 3.1: k-means on 3-D coordinates, mini-batch k-means on features (eq. 2 to 5).
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

SAMPLE = 50_000  # cells that tell usual values
AT_ONCE = 20_000  # cells that are labelled together
LEAST_SCALE = 1e-3  # of the median label's
LEAST_SPREAD = 0.1  # of the median feature's
UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How cells are labelled, and what their coordinates are counted from."""

    structural: int = 64  #: labels by place, of each part of a combined map
    semantic: int = 2  #: labels by looks, 1 for none
    of_cells: int | None = SAMPLE  #: cells whose places are clustered, None for all
    batch: int = 20_000  #: cells of a mini-batch of looks
    rounds: int = 60  #: mini-batches of looks; the centres stand still by then
    whitened: bool = True  #: features are clustered in units of their spread
    by_pair: bool = False  #: a centre for each pair of labels, not for each structural one
    scaled: bool = True  #: offsets are in a label's usual distance, not in map units


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Labels of T cells, and what the network is told of L structural labels and C features.

    P centres a structural label: 1, or one for each semantic label.
    """

    structural: I64  #: (T,), UNKNOWN where depth is
    semantic: I64  #: (T,), never unknown
    semantics: int  #: how many semantic labels
    centre: F32  #: (L,P,3): mean of what is labelled so, world
    scale: F32  #: (L,P): unit of offsets from it, in map units
    mean: F32  #: (C,) of the features
    spread: F32  #: (C,) of the features


def partition(
    samples: CellSamples, config: LabelConfig, part: NDArray[np.intp] | None = None
) -> Partition:
    """Labels for every cell, and centres.

    part (V,): which of several places put together a photo is of; None for one place.
    K-means over all of them would give every label to the largest. Without any known depth
    there is one structural label, about the mean of what lies at the usual depth before the
    cameras.
    """
    generator = np.random.default_rng(0)
    mean, spread = _usual_features(samples, generator)
    labels = np.full(len(samples.view), UNKNOWN, np.int64)
    known = np.flatnonzero(samples.depth > 0)
    if len(known):
        xyz = samples.xyz_world(known)
        of_part = np.zeros(len(known), np.intp) if part is None else part[samples.view[known]]
        centres = []
        for k in np.unique(of_part):
            mine = xyz[of_part == k]
            some = generator.permutation(len(mine))[: config.of_cells]
            centres.append(_kmeans(mine[some], config.structural))
        centre = np.concatenate(centres)
        labels[known] = KDTree(centre).query(xyz, k=1)[1]
    looks = _minibatch_kmeans(samples, mean, spread, config, generator)
    if len(known):
        pair = looks[known] if config.by_pair else None
        centre = _means(xyz, labels[known], pair, centre, config.semantic)
        scale = _usual_distance(xyz, labels[known], pair, centre)
    else:
        ahead = samples.usual_depth[:, None] * [0.0, 0.0, 1.0] - samples.translation
        there = np.einsum("vji,vj->vi", samples.rotation, ahead)
        centre = there.mean(axis=0).astype(np.float32)[None, None]
        scale = np.full((1, 1), 0.5 * np.median(samples.usual_depth), np.float32)
    return Partition(
        structural=labels,
        semantic=looks,
        semantics=config.semantic,
        centre=centre,
        scale=scale if config.scaled else np.ones_like(scale),
        mean=mean,
        spread=spread,
    )


def _usual_features(samples: CellSamples, generator: np.random.Generator) -> tuple[F32, F32]:
    """Mean and spread (C,)."""
    some = np.sort(generator.permutation(len(samples.view))[:SAMPLE])
    seen = samples.feature[some].astype(np.float32)
    spread = seen.std(axis=0)
    # What hardly ever speaks must not shout when it does.
    return seen.mean(axis=0), np.maximum(spread, LEAST_SPREAD * np.median(spread) + 1e-6)


def _means(xyz: F32, structural: I64, looks: I64 | None, centre: F32, semantic: int) -> F32:
    """Centres (L,1,3) of k-means as they are; with looks (N,), means (L,M,3) of each pair.

    As below eq. 5; of a pair that no cell has, the structural centre.
    """
    if looks is None:
        return centre[:, None]
    pair = structural * semantic + looks
    means = np.repeat(centre, semantic, axis=0).astype(np.float64)
    count = np.bincount(pair, minlength=len(means))
    total = np.column_stack([np.bincount(pair, axis, len(means)) for axis in xyz.T])
    means[count > 0] = total[count > 0] / count[count > 0, None]
    return means.reshape(len(centre), semantic, 3).astype(np.float32)


def _usual_distance(xyz: F32, structural: I64, looks: I64 | None, centre: F32) -> F32:
    """Median distance (L,P) from the centres."""
    flat = centre.reshape(-1, 3)
    label = structural if looks is None else structural * centre.shape[1] + looks
    away = np.linalg.norm(xyz - flat[label], axis=1)
    return _median_by(label, away, len(flat)).reshape(centre.shape[:2])


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
    samples: CellSamples,
    mean: F32,
    spread: F32,
    config: LabelConfig,
    generator: np.random.Generator,
) -> I64:
    """Label (T,): centres move by the mean of a mini-batch, less and less (eq. 3, 4).

    The paper does not say what its 1/beta is: the share of a mini-batch's cells in all that
    the centre has seen, as in Sculley, Web-scale k-means clustering, WWW 2010.
    """
    total, count = len(samples.view), config.semantic
    if count < 2:
        return np.zeros(total, np.int64)

    def features(rows: NDArray[np.intp] | slice) -> F32:
        # By torch, which converts several times as fast as numpy; the numbers are the same.
        found = torch.from_numpy(samples.feature[rows]).float()
        if config.whitened:
            found.sub_(torch.from_numpy(mean)).div_(torch.from_numpy(spread))
        return found.numpy()

    centre = features(np.sort(generator.permutation(total)[:count]))
    seen = np.zeros(count)
    label = np.empty(total, np.int64)
    starts = range(0, total, AT_ONCE)
    with open_bar(config.rounds + len(starts), "labels by looks", "step") as bar:
        for _ in range(config.rounds):
            batch = np.sort(generator.integers(0, total, min(config.batch, total)))
            size, away = np.zeros(count), np.zeros(centre.shape)
            for start in range(0, len(batch), AT_ONCE):
                block = features(batch[start : start + AT_ONCE])
                is_of = np.eye(count, dtype=np.float32)[_nearest(block, centre)]
                size += is_of.sum(axis=0)
                away += is_of.T @ block - is_of.sum(axis=0)[:, None] * centre
            seen += size
            centre += (away / np.maximum(seen, 1)[:, None]).astype(np.float32)
            bar.update()
        for start in starts:
            rows = slice(start, start + AT_ONCE)
            label[rows] = _nearest(features(rows), centre)
            bar.update()
    return label


def _nearest(feature: F32, centre: F32) -> NDArray[np.intp]:
    return np.asarray((feature @ centre.T - 0.5 * (centre**2).sum(axis=1)).argmax(axis=1))
