"""Networks of visible structure retrieval: both heads, and what is exported.

Zangeneh et al., Visible Structure Retrieval for Lightweight Image-Based
Relocalisation, BMVC 2025 (arXiv 2511.12503), sections 3 and 5.
B photos, J points a photo, S samples, E embedding, Z latent, P points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .exact import ExactLinear

REPRESENTATION = 64  # length of the learned representation of a point or latent


class ConditionedMlp(nn.Module):
    """Five LeakyReLU layers on [embedding, representation], input again at layer 3.

    The embedding's shares of layers 1 and 3 are separate matrices, so they
    are computed once a photo and not once a point.
    """

    def __init__(self, embedding: int, representation: int, width: int, outputs: int) -> None:
        super().__init__()
        self.first_embedding = nn.Linear(embedding, width, bias=False)
        self.first_input = nn.Linear(representation, width)
        self.second = nn.Linear(width, width)
        self.third_embedding = nn.Linear(embedding, width, bias=False)
        self.third_input = nn.Linear(representation, width, bias=False)
        self.third = nn.Linear(width, width)
        self.fourth = nn.Linear(width, width)
        self.fifth = nn.Linear(width, width)
        self.last = ExactLinear(width, outputs)

    def forward(self, embedding_BE: Tensor, representation_BNR: Tensor) -> Tensor:
        """(B,E), (B,N,R) -> (B,N,outputs)."""
        return self.tail(
            self.first_embedding(embedding_BE)[:, None] + self.first_input(representation_BNR),
            self.third_embedding(embedding_BE)[:, None] + self.third_input(representation_BNR),
        )

    def tail(self, first: Tensor, third: Tensor) -> Tensor:
        """What follows once the inputs' shares of layers 1 and 3 are known."""
        hidden = F.leaky_relu(first)
        hidden = F.leaky_relu(self.second(hidden))
        hidden = F.leaky_relu(self.third(hidden) + third)
        hidden = F.leaky_relu(self.fourth(hidden))
        hidden = F.leaky_relu(self.fifth(hidden))
        out: Tensor = self.last(hidden)
        return out


class ConditionalVae(nn.Module):
    """Encoder q(z | y, x), decoder p(y | z, x), output covariance (eq. 1, 2).

    fourier: octaves of Fourier features in front of the encoder's learned
    layer, 0 as published. gain: factor on the embedding; unit vectors of E
    numbers are small inputs, sqrt(E) gives them unit spread. Points are
    normalised by the caller.
    """

    def __init__(
        self,
        embedding: int,
        *,
        width: int = 512,
        latent: int = 4,
        fourier: int = 0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.latent = latent
        self.fourier = fourier
        self.point_layer = nn.Linear(3 * (1 + 2 * fourier), REPRESENTATION)
        self.latent_layer = nn.Linear(latent, REPRESENTATION)
        self.encoder = ConditionedMlp(embedding, REPRESENTATION, width, 2 * latent)
        self.decoder = ConditionedMlp(embedding, REPRESENTATION, width, 3)
        # Lower triangle of the Cholesky factor; the covariance starts at 0.1 I.
        self.log_diagonal = nn.Parameter(torch.full((3,), 0.5 * math.log(0.1)))
        self.off_diagonal = nn.Parameter(torch.zeros(3))

    def encode(self, embedding_BE: Tensor, points_BJ3: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B,J,Z) of the latent posterior."""
        features = points_BJ3
        if self.fourier:
            octaves = 2.0 ** torch.arange(self.fourier, device=points_BJ3.device)
            angles = (points_BJ3[..., None] * octaves).flatten(-2)
            features = torch.cat([points_BJ3, angles.sin(), angles.cos()], dim=-1)
        out = self.encoder(self.gain * embedding_BE, F.leaky_relu(self.point_layer(features)))
        mean, log_variance = out.split(self.latent, dim=-1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def decode(self, embedding_BE: Tensor, latent_BNZ: Tensor) -> Tensor:
        """Points (B,N,3), normalised, of latents (B,N,Z)."""
        points: Tensor = self.decoder(
            self.gain * embedding_BE, F.leaky_relu(self.latent_layer(latent_BNZ))
        )
        return points

    def cholesky(self) -> Tensor:
        """Lower triangular factor (3,3) of the output covariance."""
        factor = torch.diag(self.log_diagonal.exp())
        rows, columns = torch.tril_indices(3, 3, -1, device=factor.device)
        return factor.index_put((rows, columns), self.off_diagonal)

    def whitened(self, error: Tensor) -> Tensor:
        """Errors (...,3) under the output's covariance: of unit covariance.

        By substitution, not by a matrix product: autocast would round that.
        """
        diagonal, below = self.log_diagonal.exp(), self.off_diagonal
        x = error[..., 0] / diagonal[0]
        y = (error[..., 1] - below[0] * x) / diagonal[1]
        z = (error[..., 2] - below[1] * x - below[2] * y) / diagonal[2]
        return torch.stack([x, y, z], dim=-1)

    def negative_elbo(
        self, embedding_BE: Tensor, points_BJ3: Tensor, *, samples: int, kl_weight: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, mean reconstruction term and mean KL term (eq. 1 and 2)."""
        mean, log_variance = self.encode(embedding_BE, points_BJ3)
        noise = torch.randn(samples, *mean.shape, device=mean.device)
        latent = mean + noise * (0.5 * log_variance).exp()  # (M,B,J,Z)
        count, batch, points, size = latent.shape
        flat = latent.permute(1, 0, 2, 3).reshape(batch, count * points, size)
        decoded = self.decode(embedding_BE, flat).reshape(batch, count, points, 3)
        distance2 = self.whitened(decoded - points_BJ3[:, None]).square().sum(dim=-1)
        nll = 1.5 * math.log(2 * math.pi) + self.log_diagonal.sum() + 0.5 * distance2.mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1).mean()
        return nll + kl_weight * kl, nll, kl

    def negative_log_likelihood(
        self, embedding_BE: Tensor, points_BJ3: Tensor, *, samples: int
    ) -> Tensor:
        """-log p(y | x), estimated with samples of the prior.

        The left side of eq. 1 itself: p(y | x) is the mean of N(y; f(z, x),
        covariance) over z of the prior. With a latent of four numbers a few
        dozen samples, shared by all points of a photo, are enough, and no
        encoder has to be trained. Biased upwards like the ELBO.
        """
        latent = torch.randn(len(embedding_BE), samples, self.latent, device=embedding_BE.device)
        points = self.whitened(points_BJ3)
        decoded = self.whitened(self.decode(embedding_BE, latent))
        distance2 = (
            points.square().sum(dim=-1)[:, :, None]
            + decoded.square().sum(dim=-1)[:, None]
            - 2 * points @ decoded.transpose(1, 2)
        ).clamp(min=0)
        likelihood = torch.logsumexp(-0.5 * distance2, dim=-1) - math.log(samples)
        nll: Tensor = 1.5 * math.log(2 * math.pi) + self.log_diagonal.sum() - likelihood.mean()
        return nll


class FoldedDecoder(nn.Module):
    """The decoder for S fixed noise samples: `embedding` (1,E) -> `points` (S,3).

    The embedding's shares are computed once; the noise's shares depend on
    nothing else, so engines fold them into constants when they load the file,
    which itself stays small. Points come out in world units.
    """

    noise: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(
        self, vae: ConditionalVae, noise_SZ: Tensor, scale: Tensor, offset: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("noise", noise_SZ)
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)
        self.gain, self.latent_layer, self.decoder = vae.gain, vae.latent_layer, vae.decoder

    def forward(self, embedding: Tensor) -> Tensor:
        """(1,E) -> (S,3) world."""
        representation = F.leaky_relu(self.latent_layer(self.noise))
        embedding = self.gain * embedding
        normalised: Tensor = self.decoder.tail(
            self.decoder.first_embedding(embedding) + self.decoder.first_input(representation),
            self.decoder.third_embedding(embedding) + self.decoder.third_input(representation),
        )
        return normalised * self.scale + self.offset


class CellsHead(nn.Module):
    """`embedding` (B,E) -> `share` (B,K): visible share of each map cell."""

    def __init__(self, embedding: int, cells: int, widths: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        sizes = [embedding, *widths]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], cells))

    def forward(self, embedding: Tensor) -> Tensor:
        """Share in 0..1."""
        return torch.sigmoid(self.layers(embedding))
