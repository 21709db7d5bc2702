"""The labels of scene coordinates that are trained on: those that the network has learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pykdtree.kdtree import KDTree

from ...nets.scene_coordinates import SceneCoordinates
from ..continued import begin_with, finished_weights
from ..resumable import read_state
from .partition import AT_ONCE, UNKNOWN, Partition
from .presets import SceneConfig
from .samples import CellSamples


def kept_partition(samples: CellSamples, checkpoint: Path, config: SceneConfig) -> Partition:
    """Labels of T cells about the centres of a trained network.

    Each is of the nearest centre, and looks like what the network itself says it does: clusters
    made anew would be numbered otherwise. Raises MappingError for a checkpoint that is missing,
    unfinished or of another network.
    """
    network = _network(checkpoint, config)
    structural, semantics = network.labels
    centre = network.place.centre.numpy().reshape(structural, -1, 3)
    label = np.full(len(samples.view), UNKNOWN, np.int64)
    known = np.flatnonzero(samples.depth > 0)
    if len(known):
        tree = KDTree(np.ascontiguousarray(centre.mean(axis=1)))
        label[known] = tree.query(samples.xyz_world(known), k=1)[1]
    looks = np.empty(len(samples.view), np.int64)
    with torch.no_grad():
        for start in range(0, len(looks), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            feature = torch.from_numpy(samples.feature[rows].astype(np.float32))
            looks[rows] = network(feature).semantic.argmax(dim=1).numpy()
    return Partition(
        structural=label,
        semantic=looks,
        semantics=semantics,
        centre=centre,
        scale=network.place.scale.numpy().reshape(centre.shape[:2]),
        mean=network.mean.numpy(),
        spread=network.spread.numpy(),
    )


def _network(checkpoint: Path, config: SceneConfig) -> SceneCoordinates:
    """The network of a checkpoint."""
    state = read_state(checkpoint, torch.device("cpu"))
    weights = finished_weights(checkpoint, state)
    semantics = config.labels.semantic
    pairs = semantics if config.labels.by_pair else 1
    network = SceneCoordinates(
        weights["mean"],
        weights["spread"],
        weights["place.centre"].reshape(-1, pairs, 3),
        weights["place.scale"].reshape(-1, pairs),
        semantics,
        config.shape,
    )
    begin_with(network, checkpoint, state)
    return network.eval()
