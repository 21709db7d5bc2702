"""Train the recogniser: keypoints of mapping photos to landmarks.

PRAM, section 3.3; augmentation of the keypoints themselves is drawn anew for each batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_reloc.arrays import F32, I64

from ...choice import choose
from ...identity import digest_of
from ...nets.landmarks import SHAPES, Recogniser, RecogniserShape, balanced_loss
from ..device import precision
from ..resumable import Iteration, ResumableTraining
from .labelled import LabelledKeypoints

STEEPEST = {"small": 1.5e-3, "paper": 4e-4}  # learning rate at most; deep networks bear less


@dataclass(frozen=True, kw_only=True)
class RecogniserConfig:
    """Shape and schedule."""

    name: str = "quick"  #: of the preset
    shape: RecogniserShape = SHAPES["small"]  #: of the network
    iterations: int = 2400  #: steps of the optimiser
    photos: int = 16  #: entries a batch
    keypoints: int = 512  #: of each entry at most, at random among those the network will see
    copies: int = 4  #: augmented copies of each photo
    learning_rate: float = 1.5e-3  #: largest of the cycle
    weight_decay: float = 0.05  #: of AdamW; 0 makes it Adam
    descriptor_noise: float = 0.25  #: standard deviation, relative to a descriptor's numbers
    jitter: float = 0.004  #: standard deviation of a ray's x/z and y/z
    turn_rad: float = 0.15  #: standard deviation of the turn of all rays of an entry
    scale: float = 0.25  #: standard deviation of the logarithm of their scale
    shift: float = 0.1  #: standard deviation of their shift
    part: float = 0.5  #: chance that only a window of the photo is shown
    least: float = 0.5  #: of `keypoints`, the smallest share that is shown
    observed_only: bool = False  #: keypoints without a triangulated point are of no landmark
    seed: int = 0  #: of weights and draws


PAPER = "paper"
PRESETS = {
    "quick": RecogniserConfig(),
    # PRAM, sections 3.3 and 4: Adam, 32 photos, all keypoints, no augmentation. How long and at
    # which rate it does not say.
    PAPER: RecogniserConfig(
        name=PAPER,
        shape=SHAPES["paper"],
        iterations=60_000,
        photos=32,
        keypoints=4096,
        copies=0,
        learning_rate=1e-4,
        weight_decay=0.0,
        descriptor_noise=0.0,
        jitter=0.0,
        turn_rad=0.0,
        scale=0.0,
        shift=0.0,
        part=0.0,
        least=1.0,
        observed_only=True,
    ),
}


def preset(
    name: str, *, iterations: int | None = None, shape: str | None = None
) -> RecogniserConfig:
    """A named schedule, perhaps of another length or for another network."""
    config = choose(PRESETS, name, "preset")
    if shape is not None:
        network = choose(SHAPES, shape, "network")
        rate = min(config.learning_rate, STEEPEST[shape])
        if name == PAPER and network != config.shape:
            name = f"{name}_{shape}"  # no longer what the paper trains
        config = replace(config, name=name, shape=network, learning_rate=rate)
    return replace(config, iterations=iterations or config.iterations)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B entries of N keypoints, float32."""

    descriptor: Tensor  #: (B,N,D), of unit length
    ray: Tensor  #: (B,N,2): x/z, y/z
    label: Tensor  #: (B,N) int64, 0 for no landmark
    mask: Tensor  #: (B,N): 1 where there is a keypoint


class Batches:
    """Random batches of labelled keypoints, altered as the configuration says."""

    def __init__(
        self,
        data: LabelledKeypoints,
        entries: I64,
        config: RecogniserConfig,
        *,
        any_heading: bool,
    ) -> None:
        self._data, self._entries, self._config = data, entries, config
        self.identity = digest_of(data, entries, any_heading)
        self._turn = np.pi if any_heading else config.turn_rad
        self._any_heading = any_heading

    def draw(self, generator: np.random.Generator) -> Batch:
        """One batch."""
        config, data = self._config, self._data
        shape = (config.photos, config.keypoints)
        descriptor = np.zeros((*shape, data.descriptor.shape[1]), np.float32)
        ray, label = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.int64)
        mask = np.zeros(shape, np.float32)
        for b, entry in enumerate(generator.choice(self._entries, config.photos)):
            first, end = int(data.start[entry]), int(data.start[entry + 1])
            rows = first + self._rows(data.ray[first:end], generator)
            n = len(rows)
            descriptor[b, :n] = data.descriptor[rows]
            ray[b, :n] = self._moved(data.ray[rows], generator)
            label[b, :n], mask[b, :n] = data.label[rows], 1.0
        scale = config.descriptor_noise / np.sqrt(descriptor.shape[2])
        descriptor += scale * generator.standard_normal(descriptor.shape, dtype=np.float32)
        descriptor /= np.maximum(np.linalg.norm(descriptor, axis=2, keepdims=True), 1e-9)
        return Batch(
            descriptor=torch.from_numpy(descriptor),
            ray=torch.from_numpy(ray),
            label=torch.from_numpy(label),
            mask=torch.from_numpy(mask),
        )

    def _rows(self, ray: F32, generator: np.random.Generator) -> NDArray[np.intp]:
        """Some keypoints, still best first: of a window, or of the whole photo."""
        ray = ray[: self._config.shape.keypoints]
        rows = np.arange(len(ray))
        if len(ray) and generator.random() < self._config.part:
            low, high = ray.min(axis=0), ray.max(axis=0)
            size = (high - low) * generator.uniform(0.4, 1.0, 2)
            corner = low + (high - low - size) * generator.random(2)
            rows = np.flatnonzero(((ray >= corner) & (ray <= corner + size)).all(axis=1))
        most = min(len(rows), self._config.keypoints)
        count = int(most * generator.uniform(self._config.least, 1.0))
        return np.sort(generator.permutation(rows)[:count])

    def _moved(self, ray: F32, generator: np.random.Generator) -> F32:
        config = self._config
        turn = (
            generator.uniform(-self._turn, self._turn)
            if self._any_heading
            else (generator.normal() * self._turn)
        )
        scale = np.exp(generator.normal() * config.scale)
        c, s = scale * np.cos(turn), scale * np.sin(turn)
        moved = ray @ np.array([[c, s], [-s, c]], np.float32)
        moved += generator.normal(size=2) * config.shift
        return np.asarray(moved + generator.normal(size=ray.shape) * config.jitter, np.float32)


class RecogniserTrainer(ResumableTraining[Recogniser]):
    """Trains the recogniser."""

    largest_gradient = 1.0
    report_every, checkpoint_every = 20, 200

    def __init__(
        self,
        batches: Batches,
        dim: int,
        landmarks: int,
        config: RecogniserConfig,
        checkpoint: Path,
        device: torch.device | str = "cpu",
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self._batches = config, batches
        network = Recogniser(dim, landmarks, config.shape)
        super().__init__(network, config, batches.identity, checkpoint, device, start)

    def next_iteration(self) -> Iteration:
        """Balanced cross entropy of a batch."""
        # Seeded by the iteration: an interrupted training goes on as it would have.
        batch = self._batches.draw(np.random.default_rng([self.config.seed, self.iteration]))
        device = self.device
        mask = batch.mask.to(device)
        with precision(device):  # the loss itself stays float32
            logits = self.network(batch.descriptor.to(device), batch.ray.to(device), mask)
        return Iteration(balanced_loss(logits.float(), batch.label.to(device), mask))
