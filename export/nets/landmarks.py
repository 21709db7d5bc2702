"""The recogniser: which landmark does each keypoint of an image show?

PRAM, section 3.3. B images, N keypoints best first, D descriptor, W width, L landmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITION_WIDTHS = (32, 64, 128)  # and the width of the tokens, 256 in the paper
FAR_AWAY = -1e4  # what a masked keypoint is given before softmax; float16 holds it


@dataclass(frozen=True, kw_only=True)
class RecogniserShape:
    """Of the transformer; the work of a layer grows with keypoints times context."""

    width: int = 256  #: of a token
    layers: int = 15
    heads: int = 4
    keypoints: int = 2048  #: how many, the best, are recognised
    #: of these, how many all of them attend to, the best again; None for all, as published
    context: int | None = None


SHAPES = {
    # Up to 4k keypoints, and all of them (sections 3.1, 3.3).
    "paper": RecogniserShape(keypoints=4096),
    "small": RecogniserShape(width=128, layers=3, keypoints=1024, context=128),
}


class Layer(nn.Module):
    """Attention to the context, then an MLP, each added to what comes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, token_BNW: Tensor, bias_B11C: Tensor) -> Tensor:
        """(B,N,W), (B,1,1,C) -> (B,N,W); the first C tokens are the context."""
        context = bias_B11C.shape[-1]
        normed = self.attention_norm(token_BNW)
        query = self._split(self.query(normed))
        key, value = self.key_value(normed[:, :context]).chunk(2, dim=-1)
        key, value = self._split(key), self._split(value)
        if self.training:  # the same, without N x C numbers a head and layer kept for backward
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias_B11C)
        else:
            score = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]) + bias_B11C
            mixed = score.softmax(dim=-1) @ value
        mixed = mixed.transpose(1, 2).flatten(2)
        token_BNW = token_BNW + self.out(mixed)
        changed: Tensor = token_BNW + self.mlp(self.mlp_norm(token_BNW))
        return changed

    def _split(self, x_BNW: Tensor) -> Tensor:
        """(B,heads,N,W/heads)."""
        batch, tokens, width = x_BNW.shape
        return x_BNW.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


class Recogniser(nn.Module):
    """Landmark logits of keypoints; class 0 is "not in the map" (eq. 7, 8)."""

    def __init__(self, dim: int, landmarks: int, shape: RecogniserShape) -> None:
        super().__init__()
        self.dim, self.landmarks, self.shape = dim, landmarks, shape
        self.gain = math.sqrt(dim)  # of unit vectors of D numbers, to unit spread
        sizes = [2, *POSITION_WIDTHS, shape.width]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.position = nn.Sequential(*layers[:-1])
        self.descriptor = nn.Linear(dim, shape.width)
        self.layers = nn.ModuleList(Layer(shape.width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, landmarks + 1)

    def forward(self, descriptor_BND: Tensor, ray_BN2: Tensor, mask_BN: Tensor) -> Tensor:
        """Logits (B,N,L+1). ray: x/z, y/z of the keypoint; mask: 1 where there is one."""
        token = self.descriptor(self.gain * descriptor_BND) + self.position(ray_BN2)
        bias = (1.0 - mask_BN[:, None, None, : self.shape.context]) * FAR_AWAY
        for layer in self.layers:
            token = layer(token, bias)
        logits: Tensor = self.head(self.norm(token))
        return logits


class ExportedRecogniser(nn.Module):
    """`descriptor` (1,K,D), `ray` (1,K,2), `mask` (1,K) -> `probability` (1,K,L+1)."""

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self.recogniser = recogniser

    def forward(self, descriptor: Tensor, ray: Tensor, mask: Tensor) -> Tensor:
        """Softmax of the logits."""
        logits: Tensor = self.recogniser(descriptor, ray, mask)
        return logits.softmax(dim=-1)


def balanced_loss(logits_BNC: Tensor, label_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Cross entropy in which both kinds of keypoints count alike (eq. 9).

    label: 0 not in the map, below 0 not known, which counts nowhere. Of m keypoints of an
    image m0 are not: those that are weigh m0 / m, the others 1 - m0 / m.
    """
    mask_BN = mask_BN * (label_BN >= 0)
    label_BN = label_BN.clamp(min=0)
    known = mask_BN.sum(dim=1, keepdim=True).clamp(min=1)
    none_share = ((label_BN == 0) * mask_BN).sum(dim=1, keepdim=True) / known
    weight = torch.where(label_BN == 0, 1.0 - none_share, none_share) * mask_BN
    entropy = F.cross_entropy(logits_BNC.flatten(0, 1), label_BN.flatten(), reduction="none")
    return (weight.flatten() * entropy).sum() / known.sum()
