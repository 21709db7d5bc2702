"""Train the `generative` head: the conditional VAE of the paper.

Zangeneh et al., BMVC 2025, sections 3.2 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pykdtree.kdtree import KDTree
from torch import Tensor
from torch.nn import functional

from edge_reloc.arrays import F64, I64
from edge_reloc.errors import ConfigError

from ...nets.visible_structure import ConditionalVae
from .bank import Bank

CHECKPOINT_EVERY = 500


@dataclass(frozen=True, kw_only=True)
class GenerativeConfig:
    """Schedule and shape of the network.

    objective: "elbo" as published, with `samples` Monte Carlo samples of each
    point's posterior, KL weight 0 until `kl_start`, then cycles of `kl_period`
    iterations that rise from 0 to 1 over their first half; or "likelihood",
    with `samples` samples of the prior for each photo. photos x points a
    batch; noise: standard deviation added to the embeddings, relative to
    their spread; unit_noise: to unit length again after the noise, as queries
    are, and scaled to unit spread. unit_cube: points in [0,1]^3 as published,
    otherwise standardised per axis; fourier: octaves at the encoder.
    sparseness: power of the distance to a point's neighbours with which it is
    drawn, 0 as published; map points crowd on texture, structure does not.
    """

    name: str = "quick"
    objective: str = "likelihood"
    iterations: int = 2000
    photos: int = 128
    points: int = 96
    samples: int = 32
    width: int = 256
    latent: int = 4
    fourier: int = 0
    unit_cube: bool = False
    learning_rate: float = 4e-3
    weight_decay: float = 0.3
    kl_start: int = 0
    kl_period: int = 1
    noise: float = 0.25
    unit_noise: bool = True
    sparseness: float = 2.0
    seed: int = 0


PRESETS = {
    "quick": GenerativeConfig(),
    "paper": GenerativeConfig(
        name="paper",
        objective="elbo",
        iterations=100_000,
        photos=128,
        points=50,
        samples=50,
        width=512,
        fourier=0,
        unit_cube=True,
        learning_rate=1e-3,
        weight_decay=0.0,
        kl_start=20_000,
        kl_period=2_000,
        noise=1.0,
        unit_noise=False,
        sparseness=0.0,
    ),
}


def preset(name: str, *, iterations: int | None = None) -> GenerativeConfig:
    """A named schedule; its length and KL start scale with `iterations`."""
    if name not in PRESETS:
        raise ConfigError(f"preset: found '{name}', expected one of {', '.join(PRESETS)}")
    config = PRESETS[name]
    if iterations is None:
        return config
    factor = iterations / config.iterations
    return replace(
        config,
        iterations=iterations,
        kl_start=int(config.kl_start * factor),
        kl_period=max(1, min(config.kl_period, int(config.kl_period * max(factor, 0.1)))),
    )


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """world = normalised * scale + offset, both (3,) float32."""

    scale: Tensor
    offset: Tensor

    @classmethod
    def of(cls, xyz: F64, unit_cube: bool) -> Normalisation:
        """Of points (P,3): into [0,1]^3, or zero mean and unit spread per axis."""
        if unit_cube:
            offset = xyz.min(axis=0)
            scale = np.full(3, max(float((xyz.max(axis=0) - offset).max()), 1e-9))
        else:
            offset = np.median(xyz, axis=0)
            scale = np.maximum(np.median(np.abs(xyz - offset), axis=0) * 1.4826, 1e-9)
        return cls(
            scale=torch.from_numpy(scale.astype(np.float32)),
            offset=torch.from_numpy(offset.astype(np.float32)),
        )


def kl_weight(config: GenerativeConfig, iteration: int) -> float:
    """Cyclical 0 -> 1 warm-up (Fu et al. 2019); 1 in the last period."""
    if iteration >= config.iterations - config.kl_period // 2:
        return 1.0
    if iteration < config.kl_start:
        return 0.0
    phase = (iteration - config.kl_start) % config.kl_period / config.kl_period
    return min(1.0, 2.0 * phase)


class GenerativeTrainer:
    """Resumable training loop; `run` until done, checkpoints on the way."""

    def __init__(
        self,
        bank: Bank,
        xyz: F64,
        rows: I64,
        config: GenerativeConfig,
        checkpoint: Path,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.checkpoint, self.device = config, checkpoint, device
        self.normalisation = Normalisation.of(xyz, config.unit_cube)
        points = torch.from_numpy(xyz.astype(np.float32))
        self._points = ((points - self.normalisation.offset) / self.normalisation.scale).to(device)
        self._embedding = torch.from_numpy(bank.embedding).to(device)
        self._start = torch.from_numpy(bank.start).to(device)
        self._point_id = torch.from_numpy(bank.point_id.astype(np.int64)).to(device)
        self._rows = torch.from_numpy(rows).to(device)
        self._noise = self._embedding[self._rows].std(dim=0) * config.noise
        self._cumulative = torch.from_numpy(_draw_weights(bank, xyz, config.sparseness)).to(device)
        size = bank.embedding.shape[1]
        self.vae = ConditionalVae(
            size,
            width=config.width,
            latent=config.latent,
            fourier=config.fourier,
            gain=math.sqrt(size) if config.unit_noise else 1.0,
        ).to(device)
        self.optimizer = torch.optim.AdamW(
            self.vae.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=config.iterations
        )
        self.iteration = 0
        self.history: list[tuple[int, float]] = []
        self._resume()

    def run(self, report: Callable[[int, float], None]) -> ConditionalVae:
        """Train to the end; report(iteration, loss) now and then."""
        config = self.config
        while self.iteration < config.iterations:
            embedding, points = self._batch()
            loss = self._loss(embedding, points)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 10.0)
            self.optimizer.step()
            self.schedule.step()
            self.iteration += 1
            if self.iteration % 50 == 0:
                self.history.append((self.iteration, loss.item()))
                report(self.iteration, loss.item())
            if self.iteration % CHECKPOINT_EVERY == 0:
                self.save()
        self.save()
        return self.vae.eval()

    def _loss(self, embedding: Tensor, points: Tensor) -> Tensor:
        config = self.config
        if config.objective == "likelihood":
            return self.vae.negative_log_likelihood(embedding, points, samples=config.samples)
        weight = kl_weight(config, self.iteration)
        return self.vae.negative_elbo(embedding, points, samples=config.samples, kl_weight=weight)[
            0
        ]

    def _batch(self) -> tuple[Tensor, Tensor]:
        config = self.config
        rows = self._rows[torch.randint(len(self._rows), (config.photos,), device=self.device)]
        first, last = self._start[rows][:, None], self._start[rows + 1][:, None] - 1
        low, high = self._cumulative[first], self._cumulative[last + 1]
        draw = torch.rand(config.photos, config.points, device=self.device, dtype=torch.float64)
        index = torch.searchsorted(self._cumulative, low + draw * (high - low), right=True) - 1
        index = torch.minimum(torch.maximum(index, first), last)
        embedding = self._embedding[rows]
        embedding = embedding + torch.randn_like(embedding) * self._noise
        if config.unit_noise:
            embedding = functional.normalize(embedding, dim=1)
        return embedding, self._points[self._point_id[index]]

    def save(self) -> None:
        """Checkpoint, whole or not at all."""
        state: dict[str, Any] = {
            "config": self.config.__dict__,
            "iteration": self.iteration,
            "vae": self.vae.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "random": torch.get_rng_state(),
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["config"] != self.config.__dict__:
            return  # another schedule: start afresh
        self.vae.load_state_dict(state["vae"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.iteration, self.history = state["iteration"], state["history"]
        torch.set_rng_state(state["random"].cpu())


def _draw_weights(bank: Bank, xyz: F64, sparseness: float) -> F64:
    """Cumulative weights (O+1,) of the bank's observations."""
    weight = np.ones(len(bank.point_id))
    if sparseness:
        neighbours = min(17, len(xyz))
        points = np.ascontiguousarray(xyz, np.float32)
        distance = KDTree(points).query(points, k=neighbours)[0].reshape(len(xyz), -1)[:, -1]
        relative = distance / max(float(np.median(distance)), 1e-12)
        weight = np.clip(relative, 0.05, 20.0)[bank.point_id] ** sparseness
    return np.concatenate([[0.0], np.cumsum(weight)])


def fixed_noise(samples: int, latent: int, seed: int = 0) -> Tensor:
    """The S fixed standard normal latents (S,Z) that a bundle stores."""
    return torch.randn(samples, latent, generator=torch.Generator().manual_seed(seed))
