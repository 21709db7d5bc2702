"""Train the recogniser: keypoints of mapping photos to landmarks.

PRAM, section 3.3; augmentation of the keypoints themselves is drawn anew for each batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_reloc.arrays import F32, I64
from edge_reloc.errors import ConfigError

from ...nets.landmarks import SHAPES, Recogniser, RecogniserShape, balanced_loss
from ..resumable import ResumableTraining
from .labelled import LabelledKeypoints

CHECKPOINT_EVERY = 200
LARGEST_GRADIENT = 1.0
STEEPEST = {"small": 1.5e-3, "paper": 4e-4}  # learning rate at most; deep networks bear less


@dataclass(frozen=True, kw_only=True)
class RecogniserConfig:
    """Shape and schedule.

    iterations of `photos` entries with `keypoints` of each, drawn at random among those
    that the network will see. copies: augmented copies of each photo. descriptor_noise:
    standard deviation relative to a descriptor's own numbers. jitter: of a ray. turn_rad,
    scale, shift: of all rays of an entry. part: chance that only a window of the photo
    is shown.
    """

    name: str = "quick"
    shape: RecogniserShape = SHAPES["small"]
    iterations: int = 2400
    photos: int = 16
    keypoints: int = 512
    copies: int = 4
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    descriptor_noise: float = 0.25
    jitter: float = 0.004
    turn_rad: float = 0.15
    scale: float = 0.25
    shift: float = 0.1
    part: float = 0.5
    seed: int = 0


PRESETS = {
    "quick": RecogniserConfig(),
    "paper": RecogniserConfig(
        name="paper",
        shape=SHAPES["paper"],
        iterations=60_000,
        photos=32,
        keypoints=1536,
        copies=8,
        learning_rate=1e-4,
    ),
}


def preset(
    name: str, *, iterations: int | None = None, shape: str | None = None
) -> RecogniserConfig:
    """A named schedule, perhaps of another length or for another network."""
    if name not in PRESETS:
        raise ConfigError(f"preset: found '{name}', expected one of {', '.join(PRESETS)}")
    if shape is not None and shape not in SHAPES:
        raise ConfigError(f"network: found '{shape}', expected one of {', '.join(SHAPES)}")
    config = PRESETS[name]
    if shape is not None:
        rate = min(config.learning_rate, STEEPEST[shape])
        config = replace(config, shape=SHAPES[shape], learning_rate=rate)
    return replace(config, iterations=iterations or config.iterations)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """descriptor (B,N,D), ray (B,N,2), label (B,N) int64, mask (B,N): 1 for keypoints."""

    descriptor: Tensor
    ray: Tensor
    label: Tensor
    mask: Tensor


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
        digest = hashlib.blake2b(digest_size=16)
        for part in (data.start, data.label, data.descriptor, entries):
            digest.update(np.ascontiguousarray(part).tobytes())
        self.identity = digest.hexdigest()
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
        count = int(most * generator.uniform(0.5, 1.0))
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


class RecogniserTrainer(ResumableTraining[Recogniser, tuple[int, float]]):
    """Trains the recogniser; `run` until done, checkpoints on the way."""

    def __init__(
        self,
        batches: Batches,
        dim: int,
        landmarks: int,
        config: RecogniserConfig,
        checkpoint: Path,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self._batches = config, batches
        super().__init__(
            Recogniser(dim, landmarks, config.shape).to(device),
            checkpoint,
            f"{config}, {batches.identity}, {landmarks} landmarks",
            iterations=config.iterations,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            device=device,
        )

    def run(self, report: Callable[[int, float], None]) -> Recogniser:
        """Train to the end; report(iteration, loss) now and then."""
        config = self.config
        self.network.train()
        while self.iteration < config.iterations:
            # Seeded by the iteration: an interrupted training goes on as it would have.
            generator = np.random.default_rng([config.seed, self.iteration])
            loss = self._loss(self._batches.draw(generator))
            self.step(loss, LARGEST_GRADIENT)
            if self.iteration % 20 == 0 or self.iteration == config.iterations:
                self.history.append((self.iteration, loss.item()))
                report(self.iteration, loss.item())
            if self.iteration % CHECKPOINT_EVERY == 0 or self.iteration == config.iterations:
                self.save()
        return self.network.eval()

    def _loss(self, batch: Batch) -> Tensor:
        device = self.device
        mask = batch.mask.to(device)
        # Twice as fast where the processor has bfloat16; the loss itself stays float32.
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            logits = self.network(batch.descriptor.to(device), batch.ray.to(device), mask)
        return balanced_loss(logits.float(), batch.label.to(device), mask)
