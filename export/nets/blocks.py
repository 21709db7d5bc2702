"""What the feature networks have in common: input, keypoint head, weights files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.errors import EngineError

MULTIPLE_PX = 32  # the deepest features are at 1/32


def normalised(image_B1HW: Tensor) -> Tensor:
    """Grey images of any range at zero mean and unit spread, padded on the right and below.

    To multiples of 32 pixels and after normalisation: the padding is the image's mean grey.
    """
    height, width = image_B1HW.shape[-2:]
    image = F.instance_norm(image_B1HW, eps=1e-5)
    down, right = -height % MULTIPLE_PX, -width % MULTIPLE_PX
    return F.pad(image, (0, right, 0, down)) if down or right else image


def keypoint_head(width: int) -> nn.Sequential:
    """Maps of `width` channels at 1/2 to keypoint logits at each pixel."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


def enlarge(maps: Tensor, factor: int) -> Tensor:
    """Bilinear."""
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def read_weights(weights: Path, kind: str, cure: str) -> Any:
    """What torch reads of a weights file; EngineError when it is missing or damaged."""
    if not weights.is_file():
        raise EngineError(f"{weights}: no such weights file; {cure}")
    try:
        return torch.load(str(weights), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated classes
        raise EngineError(f"{weights}: damaged or not {kind} ({error})") from error
