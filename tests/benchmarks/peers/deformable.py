"""Deformable convolution in plain PyTorch, for ALIKED where torchvision cannot be imported.

torchvision's wheels load only beside the very PyTorch that they were built with. ALIKED needs
`torchvision.ops.deform_conv2d` and two one-line layers of it; this module has all three.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """(B,O,h,w): a convolution whose K taps read beside their places, bilinearly.

    Dai et al., ICCV 2017, eq. 2; with a mask Zhu et al., CVPR 2019, eq. 1. input (B,C,H,W);
    offset (B,2·G·K,h,w): down and right, pixels, of each tap, row by row, for G groups of
    channels; weight (O,C/groups,kh,kw); mask (B,G·K,h,w): weight of each tap. Outside the
    image there is 0.
    """
    down, right = _pair(stride)
    above, beside = _pair(padding)
    apart_y, apart_x = _pair(dilation)
    batch, channels, height, width = input.shape
    outputs, per_group, rows, columns = weight.shape
    taps = rows * columns
    out_h, out_w = offset.shape[-2:]
    groups = offset.shape[1] // (2 * taps)
    y = torch.arange(out_h, dtype=input.dtype)[:, None] * down - above
    x = torch.arange(out_w, dtype=input.dtype)[None, :] * right - beside
    moved = offset.reshape(batch * groups, taps, 2, out_h, out_w)
    image = input.reshape(batch * groups, channels // groups, height, width)
    read = []
    for tap in range(taps):
        at_y = y + (tap // columns) * apart_y + moved[:, tap, 0]
        at_x = x + (tap % columns) * apart_x + moved[:, tap, 1]
        seen = _bilinear(image, at_y, at_x)
        if mask is not None:
            seen = seen * mask.reshape(batch * groups, taps, 1, out_h, out_w)[:, tap]
        read.append(seen.reshape(batch, channels, out_h, out_w))
    parts = channels // per_group
    columns_of = torch.stack(read, dim=2).reshape(batch, parts, per_group * taps, out_h * out_w)
    kernel = weight.reshape(parts, outputs // parts, per_group * taps)
    found = torch.einsum("gok,bgkn->bgon", kernel, columns_of)
    found = found.reshape(batch, outputs, out_h, out_w)
    return found if bias is None else found + bias[:, None, None]


def _bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N,C,h,w) of an image (N,C,H,W) at places (N,h,w), pixels; 0 outside."""
    height, width = image.shape[-2:]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _conv(size: int, inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


@contextmanager
def torchvision_or_stand_in() -> Iterator[bool]:
    """Inside, `import torchvision` works; yields whether that is this module's stand-in."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError):  # none, or one of another PyTorch
        pass
    else:
        yield False
        return
    names = ("torchvision", "torchvision.ops", "torchvision.models", "torchvision.models.resnet")
    made = {name: ModuleType(name) for name in names}
    for name, module in made.items():
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(made[parent], last, module)
    made["torchvision.ops"].deform_conv2d = deform_conv2d
    made["torchvision.models.resnet"].conv1x1 = lambda *sizes: _conv(1, *sizes)
    made["torchvision.models.resnet"].conv3x3 = lambda *sizes: _conv(3, *sizes)
    before = {name: module for name, module in sys.modules.items() if name in made}
    sys.modules.update(made)
    try:
        yield True
    finally:  # others must not take it for the real one
        for name in made:
            del sys.modules[name]
        sys.modules.update(before)
