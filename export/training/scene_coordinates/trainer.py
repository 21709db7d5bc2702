"""Train scene coordinate regression on sampled cells.

SS-DVR, section 3.3 and 4.2; robust reprojection with a schedule as in ACE (Brachmann et al.,
CVPR 2023, section 3.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...choice import choose
from ...identity import digest_of
from ...nets.scene_coordinates import SHAPES, HeadShape, Prediction, SceneCoordinates
from ..device import precision
from ..resumable import Iteration, ResumableTraining
from .partition import UNKNOWN, Partition
from .samples import BufferConfig, CellSamples

NEAREST = 0.1  # of the usual depth: a prediction closer to the camera has no pixel
LEAK = 0.02  # of the robust error beyond its clamp, so that what is far off finds its way
FARTHEST_PX = 1000.0  # reprojection error over which only the direction is pulled at


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Shape and schedule."""

    name: str = "quick"  #: of the preset
    shape: HeadShape = SHAPES["small"]  #: of the network
    buffer: BufferConfig = field(default_factory=BufferConfig)  #: what is sampled of photos
    iterations: int = 4000  #: steps of the optimiser
    cells: int = 2560  #: a batch
    unknown: float = 0.1  #: share of these without known depth, where there are such
    structural: int = 64  #: labels by place
    semantic: int = 2  #: labels by looks
    alpha: float = 20.0  #: pixels, of the score's regularisation (eq. 12)
    #: alpha is at least this, of the batch's median error: with most errors above alpha all
    #: scores fall to 1, and there they stay
    alpha_of_median: float = 2.0
    beta: float = 0.1  #: weight of the Euclidean loss (eq. 17)
    gamma: float = 10.0  #: weight of the cross entropy (eq. 17)
    score: bool = True  #: whether discriminability weighs the reprojection error
    score_from: float = 0.15  #: share of the schedule from which it does
    clamp_px: tuple[float, float] = (50.0, 2.0)  #: where errors flatten, at first and last
    hidden: float = 0.0  #: share of a cell's features hidden from the network, others each time
    learning_rate: float = 2e-3  #: largest of the cycle
    weight_decay: float = 0.01  #: of AdamW
    seed: int = 0  #: of weights and draws


PRESETS = {
    "quick": SceneConfig(),
    "paper": SceneConfig(
        name="paper",
        shape=SHAPES["paper"],
        buffer=BufferConfig(copies=16, unknown=300, with_depth=1500),
        iterations=25_000,
        cells=40_960,
        gamma=100.0,
        clamp_px=(50.0, 1.0),
        learning_rate=3e-3,
    ),
}


def preset(name: str, *, iterations: int | None = None, shape: str | None = None) -> SceneConfig:
    """A named schedule, perhaps of another length or for another network."""
    config = choose(PRESETS, name, "preset")
    return replace(
        config,
        iterations=iterations or config.iterations,
        shape=config.shape if shape is None else choose(SHAPES, shape, "network"),
    )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """N cells, float32, and the cameras that saw them; lengths in map units."""

    feature: Tensor  #: (N,C)
    ray: Tensor  #: (N,2): x/z, y/z
    rotation: Tensor  #: (N,3,3) of cam_from_world
    translation: Tensor  #: (N,3) of cam_from_world
    focal_px: Tensor  #: (N,)
    usual_depth: Tensor  #: (N,): of what the photo sees
    depth: Tensor  #: (N,), 0 for unknown
    xyz_world: Tensor  #: (N,3), anything where depth is unknown
    structural: Tensor  #: (N,) int64, UNKNOWN where depth is
    semantic: Tensor  #: (N,) int64


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

    largest_gradient = 100.0
    report_every, checkpoint_every = 50, 250
    shown = 2

    def __init__(
        self,
        batches: Batches,
        labels: Partition,
        config: SceneConfig,
        checkpoint: Path,
        device: torch.device | str = "cpu",
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self._batches = config, batches
        network = SceneCoordinates(
            torch.from_numpy(labels.mean),
            torch.from_numpy(labels.spread),
            torch.from_numpy(labels.centre),
            torch.from_numpy(labels.scale),
            labels.semantics,
            config.shape,
        )
        super().__init__(network, config, batches.identity, checkpoint, device)

    def next_iteration(self) -> Iteration:
        """The total loss (eq. 17) of a batch."""
        # Seeded by the iteration: an interrupted training goes on as it would have.
        generator = np.random.default_rng([self.config.seed, self.iteration])
        batch = _to(self._batches.draw(generator), self.device)
        with precision(self.device):
            found = self.network(self._hide(batch.feature, generator))
        loss, error_px = self._loss(found, batch)

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

    def _loss(self, found: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
        """The total (eq. 17), and the reprojection errors (N,) in pixels."""
        config = self.config
        known = batch.structural != UNKNOWN
        error_px, visible = reprojection_px(found.xyz_world, batch)
        first, last = config.clamp_px
        progress = self.iteration / config.iterations
        clamp = last + (first - last) * math.sqrt(1.0 - progress**2)
        robust = clamp * torch.tanh(error_px / clamp) + LEAK * error_px
        if config.score and progress >= config.score_from:
            usual = config.alpha_of_median * robust.detach().median()
            alpha = usual.clamp(min=config.alpha)
            robust = found.score * robust - alpha * torch.log(found.score)
        loss = torch.where(visible, robust, LEAK * softened(error_px)).mean()
        if known.any():
            away = (found.xyz_world - batch.xyz_world)[known].norm(dim=1)
            away_px = away * batch.focal_px[known] / batch.depth[known]
            loss = loss + config.beta * softened(away_px).mean()
            if found.structural.shape[1] > 1:
                structural = F.cross_entropy(
                    found.structural.float()[known], batch.structural[known]
                )
                loss = loss + config.gamma * structural
        if found.semantic.shape[1] > 1:
            loss = loss + config.gamma * F.cross_entropy(found.semantic.float(), batch.semantic)
        return loss, error_px


def reprojection_px(xyz_world: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """L1 error (N,) in pixels (eq. 11), and where it is one (N,): ahead and not far off.

    Elsewhere it is the distance, as pixels at the usual depth, from the point at that
    depth on the cell's ray: coordinates of unknown depth begin there.
    """
    in_camera = torch.einsum("nij,nj->ni", batch.rotation, xyz_world) + batch.translation
    depth = in_camera[:, 2]
    usual_depth = batch.usual_depth
    ray = in_camera[:, :2] / torch.maximum(depth, NEAREST * usual_depth)[:, None]
    error = (ray - batch.ray).abs().sum(dim=1) * batch.focal_px
    visible = (depth > NEAREST * usual_depth) & (error < FARTHEST_PX)
    there = usual_depth[:, None] * F.pad(batch.ray, (0, 1), value=1.0)
    away = (in_camera - there).abs().sum(dim=1) * batch.focal_px / usual_depth
    return torch.where(visible, error, away), visible


def softened(error_px: Tensor) -> Tensor:
    """Errors far over FARTHEST_PX grow as their logarithm: a point that went to another
    place altogether must not outweigh a whole batch.
    """
    return FARTHEST_PX * torch.log1p(error_px / FARTHEST_PX)


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(**{name: value.to(device) for name, value in vars(batch).items()})
