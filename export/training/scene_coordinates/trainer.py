"""Train scene coordinate regression on sampled cells (SS-DVR, section 3.3 and 4.2)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...identity import digest_of
from ...nets.scene_coordinates import SceneCoordinates
from ..device import precision
from ..resumable import Iteration, ResumableTraining
from .partition import UNKNOWN, Partition
from .presets import SceneConfig
from .regression_loss import Batch, total_loss
from .samples import CellSamples


class Batches:
    """Random cells of all photos together."""

    def __init__(self, samples: CellSamples, labels: Partition, config: SceneConfig) -> None:
        self._samples, self._labels, self._config = samples, labels, config
        known = samples.depth > 0
        self._known, self._unknown = np.flatnonzero(known), np.flatnonzero(~known)
        self.identity = digest_of(samples, labels)

    def draw(self, generator: np.random.Generator) -> Batch:
        """One batch."""
        samples, labels, rows = self._samples, self._labels, self._rows(generator)
        view = samples.view[rows]
        return Batch(
            feature=torch.from_numpy(samples.feature[rows].astype(np.float32)),
            ray=torch.from_numpy(samples.ray[rows]),
            rotation=torch.from_numpy(samples.rotation[view]),
            translation=torch.from_numpy(samples.translation[view]),
            focal_px=torch.from_numpy(samples.focal_px[view]),
            usual_depth=torch.from_numpy(samples.usual_depth[view]),
            depth=torch.from_numpy(samples.depth[rows]),
            xyz_world=torch.from_numpy(samples.xyz_world(rows)),
            structural=torch.from_numpy(labels.structural[rows]),
            semantic=torch.from_numpy(labels.semantic[rows]),
        )

    def _rows(self, generator: np.random.Generator) -> NDArray[np.intp]:
        config, known, unknown = self._config, self._known, self._unknown
        if config.unknown is None:
            return np.sort(generator.integers(0, len(self._samples.view), config.cells))
        share = config.unknown if len(known) else 1.0
        some = int(config.cells * share) if len(unknown) else 0
        rows = [generator.choice(unknown, some)] if some else []
        if some < config.cells:
            rows.append(generator.choice(known, config.cells - some))
        return np.sort(np.concatenate(rows))


class SceneTrainer(ResumableTraining[SceneCoordinates]):
    """Trains scene coordinates.

    history: iteration, loss, median reprojection error in pixels, share of right labels.
    """

    report_every, checkpoint_every = 50, 250
    shown = 2

    def __init__(
        self,
        batches: Batches,
        labels: Partition,
        config: SceneConfig,
        checkpoint: Path,
        device: torch.device | str = "cpu",
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self._batches = config, batches
        self.largest_gradient = config.largest_gradient
        self.warm_up, self.first_rate = config.warm_up, config.first_rate
        network = SceneCoordinates(
            torch.from_numpy(labels.mean),
            torch.from_numpy(labels.spread),
            torch.from_numpy(labels.centre),
            torch.from_numpy(labels.scale),
            labels.semantics,
            config.shape,
        )
        super().__init__(network, config, batches.identity, checkpoint, device, start)

    def next_iteration(self) -> Iteration:
        """The total loss (eq. 17) of a batch."""
        # Seeded by the iteration: an interrupted training goes on as it would have.
        generator = np.random.default_rng([self.config.seed, self.iteration])
        batch = _to(self._batches.draw(generator), self.device)
        with precision(self.device):
            found = self.network(self._hide(batch.feature, generator))
        progress = self.iteration / self.config.iterations
        loss, error_px = total_loss(found, batch, self.config.loss, progress)

        def noted() -> tuple[float, float]:
            right = found.structural.argmax(dim=1) == batch.structural
            known = batch.structural != UNKNOWN
            accuracy = right[known].float().mean().item() if known.any() else math.nan
            return error_px.detach().median().item(), accuracy

        return Iteration(loss, noted)

    def _hide(self, feature: Tensor, generator: np.random.Generator) -> Tensor:
        """Features (N,C), some of them at their mean: places must not hang on a few."""
        if not self.config.hidden:
            return feature
        hidden = generator.random(feature.shape, np.float32) < self.config.hidden
        mean = self.network.mean.expand_as(feature)
        return torch.where(torch.from_numpy(hidden).to(self.device), mean, feature)


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(**{name: value.to(device) for name, value in vars(batch).items()})
