"""DINOv2's class token as an image embedding, for users who have its published weights.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024: a
vision transformer of 14-pixel patches (Dosovitskiy et al., ICLR 2021) with layer scale.
Parameters are named as in the published state dicts (dinov2_vits14_pretrain.pth and its
larger ones, also those with registers). Nothing is downloaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.errors import ConfigError, EngineError

from ..onnx.export import export_module
from .blocks import read_weights

SIDE_PX = 224  # 16 x 16 patches of 14 pixels; 518 is six times the work
HEAD_WIDTH = 64  # of every published size
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
LAYER_NORM_EPS = 1e-6
# Published networks without registers resample their position embeddings with this much added
# to the wanted grid; those with registers resample them smoothly instead.
GRID_OFFSET = 0.1
CURE = "give DINOv2's published state dict, e.g. dinov2_vitb14_pretrain.pth"


@dataclass(frozen=True, kw_only=True)
class VitShape:
    """What a state dict tells of its network."""

    width: int  #: E, of a token
    depth: int  #: blocks
    patch_px: int
    grid: int  #: patches a side that the position embeddings are for
    hidden: int  #: width of the blocks' perceptrons
    registers: int


class Attention(nn.Module):
    """Self-attention with heads of 64 numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_1TE: Tensor) -> Tensor:
        """(1,T,E) -> (1,T,E)."""
        _, count, width = tokens_1TE.shape
        heads = width // HEAD_WIDTH
        qkv = self.qkv(tokens_1TE).reshape(count, 3, heads, HEAD_WIDTH).permute(1, 2, 0, 3)
        query, key, value = qkv[0], qkv[1], qkv[2]
        attention = F.softmax(query * HEAD_WIDTH**-0.5 @ key.transpose(1, 2), dim=-1)
        seen = (attention @ value).transpose(0, 1).reshape(1, count, width)
        out: Tensor = self.proj(seen)
        return out


class Mlp(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(...,E) -> (...,E)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class LayerScale(nn.Module):
    """A learned factor for each number of a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(...,E) -> (...,E)."""
        return tokens * self.gamma


class Block(nn.Module):
    """Attention, then a perceptron, each after a norm and added with a scale."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, LAYER_NORM_EPS)
        self.attn = Attention(width)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, LAYER_NORM_EPS)
        self.mlp = Mlp(width, hidden)
        self.ls2 = LayerScale(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(1,T,E) -> (1,T,E)."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        out: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return out


class PatchEmbed(nn.Module):
    """A token for each patch of the image."""

    def __init__(self, width: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, stride=patch_px)

    def forward(self, image_13SS: Tensor) -> Tensor:
        """(1,3,S,S) -> (1,patches,E)."""
        patches: Tensor = self.proj(image_13SS)
        return patches.flatten(2).transpose(1, 2)


class Dinov2(nn.Module):
    """RGB image (1,3,S,S) float32 in 0..255 to the class token (E,) after the last norm.

    Not scaled to unit length: ViSiR adds noise of variance 1 to the token as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        if shape.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, shape.width))
        self.patch_embed = PatchEmbed(shape.width, shape.patch_px)
        self.blocks = nn.ModuleList(Block(shape.width, shape.hidden) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, LAYER_NORM_EPS)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("mean", 255 * mean.reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * std.reshape(1, 3, 1, 1), persistent=False)

    def resample(self, side_px: int) -> None:
        """Make the position embeddings fit images of a side, once, so that the graph need not."""
        grid, wanted = self.shape.grid, side_px // self.shape.patch_px
        if wanted == grid:
            return
        class_token, patches = self.pos_embed.data[:, :1], self.pos_embed.data[:, 1:]
        square = patches.reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        if self.shape.registers:
            square = F.interpolate(square, size=(wanted, wanted), mode="bicubic", antialias=True)
        else:
            scale = (wanted + GRID_OFFSET) / grid
            square = F.interpolate(square, scale_factor=scale, mode="bicubic")
        fitted = square.permute(0, 2, 3, 1).reshape(1, wanted * wanted, -1)
        self.pos_embed = nn.Parameter(torch.cat([class_token, fitted], dim=1))

    def forward(self, image_13SS: Tensor) -> Tensor:
        """The class token (E,)."""
        patches = self.patch_embed((image_13SS - self.mean) / self.std)
        tokens = torch.cat([self.cls_token, patches], dim=1) + self.pos_embed
        if self.shape.registers:
            tokens = torch.cat([tokens[:, :1], self.register_tokens, tokens[:, 1:]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        class_token: Tensor = self.norm(tokens[:, 0])
        return class_token.squeeze(0)


def load_dinov2(weights: Path, side_px: int = SIDE_PX) -> Dinov2:
    """DINOv2 of the size that a published state dict holds, for square images of a side.

    Raises EngineError for a file that is missing, damaged or another network, ConfigError for
    a side that is no multiple of the patch.
    """
    state = read_weights(weights, "a state dict", CURE)
    shape = _shape_of(state, weights)
    if side_px % shape.patch_px or side_px < shape.patch_px:
        raise ConfigError(
            f"dinov2: input side is {side_px} pixels, expected a multiple of {shape.patch_px}"
        )
    model = Dinov2(shape)
    state = {name: tensor.float() for name, tensor in state.items() if name != "mask_token"}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # many lines: the first difference is enough
        first = str(error).splitlines()[1].strip()
        raise EngineError(f"{weights}: not DINOv2's state dict ({first}); {CURE}") from error
    model.resample(side_px)
    return model.eval().requires_grad_(False)


def _shape_of(state: Any, weights: Path) -> VitShape:
    """From the names and sizes of a state dict's tensors."""
    try:
        blocks = {int(m[1]) for name in state if (m := re.match(r"blocks\.(\d+)\.", name))}
        width, _, patch_px, _ = state["patch_embed.proj.weight"].shape
        grid = round((state["pos_embed"].shape[1] - 1) ** 0.5)
        registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
        hidden = state["blocks.0.mlp.fc1.weight"].shape[0]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise EngineError(f"{weights}: not DINOv2's state dict ({error}); {CURE}") from error
    if width % HEAD_WIDTH:
        raise EngineError(
            f"{weights}: tokens have {width} numbers, expected a multiple of {HEAD_WIDTH}; {CURE}"
        )
    return VitShape(
        width=width,
        depth=len(blocks),
        patch_px=patch_px,
        grid=grid,
        hidden=hidden,
        registers=registers,
    )


def export_dinov2(weights: Path, output: Path, side_px: int = SIDE_PX) -> int:
    """Write the embedding network (.onnx); the embedding's length E.

    Input `image` (1,3,S,S) float32 RGB in 0..255; output `embedding` (E,).
    """
    module = load_dinov2(weights, side_px)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, side_px, side_px), generator=generator) * 255
    export_module(module, [image], ["image"], ["embedding"], output)
    return module.shape.width
