"""EdgePoint2: a very small keypoint and descriptor network, six sizes.

Yao et al., "EdgePoint2: Compact Descriptors for Superior Efficiency and
Accuracy", 2025. The size is read from the weights' shapes, and batch norm is
folded into the convolutions when they are loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.errors import EngineError

from .blocks import enlarge, keypoint_head, normalised, read_weights
from .detector import CellMaps, DenseMaps

GROUP = 16  # channels of a group in the descriptor head
BATCH_NORM_EPS = 1e-5


class Widths(NamedTuple):
    """Channels."""

    stem: int
    quarter: int  #: features at 1/4
    eighth: int  #: features at 1/8
    thirty_second: int  #: features at 1/32
    descriptor: int
    detector: int


class Residual(nn.Module):
    """Two convolutions around a skip, which is a 1x1 where widths differ."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same size."""
        return F.relu(self.body(x) + self.skip(x))


class EdgePoint2(nn.Module):
    """Backbone and heads; convolutions stand in the order of the weights."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        w = widths
        self.dim = w.descriptor
        joined = w.quarter + w.eighth + w.thirty_second
        self.stem = nn.Sequential(
            nn.Conv2d(1, w.stem, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(w.stem, w.quarter, 3, padding=1),
            nn.ReLU(),
            Residual(w.quarter, w.quarter),
        )
        self.block_eighth = Residual(w.quarter, w.eighth)
        self.block_thirty_second = Residual(w.eighth, w.thirty_second)
        self.descriptor = nn.Sequential(
            nn.Conv2d(joined, joined, 1),
            nn.Conv2d(joined, joined, 3, padding=1, groups=joined // GROUP),
            nn.ReLU(),
            nn.Conv2d(joined, w.descriptor, 1),
        )
        self.detect_half = nn.Conv2d(w.quarter, w.detector, 1)
        self.detect_eighth = nn.Conv2d(w.eighth, w.detector, 1)
        self.detect_thirty_second = nn.Conv2d(w.thirty_second, w.detector, 1)
        self.detector = keypoint_head(w.detector)

    def forward(self, image_11HW: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors (1,D,H/4,W/4), not normalised, and logits (1,1,H,W).

        Of the padded image: the maps may reach over the image itself.
        """
        joined, logits = self._maps(image_11HW)
        return self.descriptor(joined), logits

    def _maps(self, image_11HW: Tensor) -> tuple[Tensor, Tensor]:
        """All levels side by side at 1/4, and the logits."""
        image = normalised(image_11HW)
        half = self.stem(image)
        quarter = F.avg_pool2d(half, 2)
        eighth = self.block_eighth(F.avg_pool2d(quarter, 2))
        thirty_second = self.block_thirty_second(F.avg_pool2d(eighth, 4))
        joined = torch.cat([quarter, enlarge(eighth, 2), enlarge(thirty_second, 8)], dim=1)
        logits = self.detector(
            self.detect_half(half)
            + enlarge(self.detect_eighth(eighth), 4)
            + enlarge(self.detect_thirty_second(thirty_second), 16)
        )
        return joined, logits

    def dense(self, image_11HW: Tensor) -> DenseMaps:
        """Heat (the logits' sigmoid) and descriptors of the H x W pixels."""
        height, width = image_11HW.shape[-2:]
        descriptors, logits = self(image_11HW)
        return DenseMaps(
            torch.sigmoid(logits).squeeze((0, 1))[:height, :width], None, descriptors.squeeze(0)
        )

    def cells(self, image_11HW: Tensor) -> CellMaps:
        """Levels and descriptors, two by two of their cells in one."""
        joined, logits = self._maps(image_11HW)
        feature = torch.cat([joined, self.descriptor(joined)], dim=1)
        return CellMaps(F.avg_pool2d(feature, 2), logits)


def load_edgepoint2(weights: Path) -> EdgePoint2:
    """EdgePoint2 of the size that a published state dict (.pth) holds.

    Raises EngineError for a file that is missing, damaged or another network.
    """
    state = read_weights(weights, "a state dict", "give an EdgePoint2 state dict (.pth)")
    try:
        size = {name: tensor.shape[0] for name, tensor in state.items() if tensor.ndim == 4}
        model = EdgePoint2(
            Widths(
                size["block1.0.layer.0.weight"],
                size["block1.1.layer.0.weight"],
                size["block2.layer.0.weight"],
                size["block3.layer.0.weight"],
                size["desc_head.2.weight"],
                size["conv1.weight"],
            )
        )
    except (AttributeError, KeyError, ValueError) as error:
        raise EngineError(f"{weights}: not EdgePoint2's state dict ({error})") from error
    sources = [name.removesuffix(".weight") for name in size]
    targets = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    if len(sources) != len(targets):
        raise EngineError(
            f"{weights}: found {len(sources)} convolutions, expected EdgePoint2's {len(targets)}"
        )
    for source, (name, conv) in zip(sources, targets, strict=True):
        weight, bias = _folded(state, source, weights)
        assert conv.bias is not None
        for kind, found, parameter in (
            ("weight", weight, conv.weight),
            ("bias", bias, conv.bias),
        ):
            if found.shape != parameter.shape:
                raise EngineError(
                    f"{weights}: '{source}.{kind}' for {name} is {list(found.shape)}, "
                    f"expected {list(parameter.shape)}"
                )
            parameter.data.copy_(found)
    return model.eval()


def _folded(state: dict[str, Tensor], source: str, weights: Path) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm after it."""
    weight = state[f"{source}.weight"].float()
    if f"{source}.bias" in state:
        return weight, state[f"{source}.bias"].float()
    parent, position = source.rsplit(".", 1)
    norm = f"{parent}.{int(position) + 1}"
    try:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    except KeyError as error:
        raise EngineError(f"{weights}: tensor {error} is missing") from error
    return weight * scale[:, None, None, None], bias
