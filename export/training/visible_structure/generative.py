"""Train the `generative` head: the conditional VAE of the paper.

Zangeneh et al., BMVC 2025, sections 3.2 and 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pykdtree.kdtree import KDTree
from torch import Tensor
from torch.nn import functional

from edge_reloc.arrays import F64, I64

from ...choice import choose
from ...identity import digest_of
from ...nets.visible_structure import ConditionalVae
from ..device import precision
from ..resumable import Iteration, ResumableTraining
from .bank import Bank


@dataclass(frozen=True, kw_only=True)
class GenerativeConfig:
    """Schedule and shape of the network."""

    name: str = "quick"  #: of the preset
    #: "elbo" as published, or "likelihood" under samples of the prior
    objective: str = "likelihood"
    iterations: int = 2000  #: steps of the optimiser
    photos: int = 128  #: a batch
    points: int = 96  #: of each photo in a batch
    samples: int = 32  #: of each point's posterior ("elbo"), or of the prior for each photo
    width: int = 256  #: of the layers
    latent: int = 4  #: length of the latent
    fourier: int = 0  #: octaves at the encoder
    unit_cube: bool = False  #: points in [0,1]^3 as published; else standardised per axis
    learning_rate: float = 4e-3  #: largest of the cycle
    weight_decay: float = 0.3  #: of AdamW
    kl_start: int = 0  #: iterations with KL weight 0 at first ("elbo")
    kl_period: int = 1  #: iterations of a cycle in which the weight rises to 1 by half time
    noise: float = 0.25  #: spread added to the embeddings, relative to their own
    #: as published: needs DINOv2's class token, whose own unit the noise has
    class_token: bool = False
    whole_photos: bool = False  #: learns from no parts of photos
    #: of the search, map units, and every point within it is returned, as published; None:
    #: radius and number of candidates are chosen on held-out photos
    radius: float | None = None
    #: noisy embeddings to unit length again, as queries are, and scaled to unit spread, where
    #: embeddings are of unit length
    unit_noise: bool = True
    largest_gradient: float = 10.0  #: norm over which gradients are cut
    #: power of the distance to a point's neighbours with which it is drawn, 0 as published;
    #: map points crowd on texture, structure does not
    sparseness: float = 2.0
    seed: int = 0  #: of weights and draws


PAPER = GenerativeConfig(
    name="paper",
    objective="elbo",
    iterations=100_000,
    photos=128,
    points=50,
    samples=50,
    width=512,
    latent=4,
    fourier=0,
    unit_cube=True,
    learning_rate=1e-3,
    weight_decay=0.0,
    kl_start=20_000,
    kl_period=2_000,
    noise=1.0,
    class_token=True,
    whole_photos=True,
    radius=5.0,
    unit_noise=False,
    largest_gradient=math.inf,
    sparseness=0.0,
)

PRESETS = {
    "quick": GenerativeConfig(),
    "paper": PAPER,
    # For maps of another embedding: the noise is as large as the embedding's own spread.
    "paper_vlad": replace(PAPER, name="paper_vlad", class_token=False),
}


def preset(name: str, *, iterations: int | None = None) -> GenerativeConfig:
    """A named schedule; its length and KL start scale with `iterations`."""
    config = choose(PRESETS, name, "preset")
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
    """world = normalised * scale + offset."""

    scale: Tensor  #: (3,) float32
    offset: Tensor  #: (3,) float32

    @classmethod
    def of(cls, xyz: F64, unit_cube: bool) -> Normalisation:
        """Of points (P,3): their range into [0,1]^3, or zero mean and unit spread per axis."""
        if unit_cube:
            offset = xyz.min(axis=0)
            scale = np.maximum(xyz.max(axis=0) - offset, 1e-9)
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


class GenerativeTrainer(ResumableTraining[ConditionalVae]):
    """Trains the conditional VAE on the bank's `rows`."""

    warm_up = 0.3
    replayed = True
    report_every, checkpoint_every = 50, 250

    def __init__(
        self,
        bank: Bank,
        xyz: F64,
        rows: I64,
        config: GenerativeConfig,
        checkpoint: Path,
        device: torch.device | str = "cpu",
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.largest_gradient = config, config.largest_gradient
        self._unit = config.unit_noise and bank.unit
        self.normalisation = Normalisation.of(xyz, config.unit_cube)
        points = torch.from_numpy(xyz.astype(np.float32))
        self._points = ((points - self.normalisation.offset) / self.normalisation.scale).to(device)
        self._embedding = torch.from_numpy(bank.embedding).to(device)
        self._start = torch.from_numpy(bank.start).to(device)
        self._point_id = torch.from_numpy(bank.point_id.astype(np.int64)).to(device)
        self._rows = torch.from_numpy(rows).to(device)
        own = self._embedding[self._rows].std(dim=0)
        self._noise = config.noise * (torch.ones_like(own) if config.class_token else own)
        self._cumulative = torch.from_numpy(_draw_weights(bank, xyz, config.sparseness)).to(device)
        size = bank.embedding.shape[1]
        vae = ConditionalVae(
            size,
            width=config.width,
            latent=config.latent,
            fourier=config.fourier,
            gain=math.sqrt(size) if self._unit else 1.0,
        )
        super().__init__(vae, config, digest_of(bank, xyz, rows), checkpoint, device, start)
        self._kl_weight = torch.zeros((), device=device)
        self._negative_elbo = self._elbo
        if self.device.type == "cuda":
            self._negative_elbo = torch.compile(self._elbo)

    def next_iteration(self) -> Iteration:
        """Negative ELBO or likelihood of a batch."""
        config, (embedding, points) = self.config, self._batch()
        if config.objective == "likelihood":
            return Iteration(
                self.network.negative_log_likelihood(embedding, points, samples=config.samples)
            )
        return Iteration(self._negative_elbo(embedding, points))

    def prepare(self) -> None:
        """The KL term's weight, in memory that a recorded or compiled iteration reads."""
        self._kl_weight.fill_(kl_weight(self.config, self.iteration))

    def _elbo(self, embedding: Tensor, points: Tensor) -> Tensor:
        with precision(self.device):
            loss, *_ = self.network.negative_elbo(
                embedding, points, samples=self.config.samples, kl_weight=self._kl_weight
            )
        return loss

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
        if self._unit:
            embedding = functional.normalize(embedding, dim=1)
        return embedding, self._points[self._point_id[index]]


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
