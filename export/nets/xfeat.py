"""XFeat: keypoint logits, reliability and descriptors of a grey image.

Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching",
CVPR 2024. Batch norm is folded into the convolutions, as in the ONNX file
that the weights come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.errors import EngineError

from .blocks import normalised
from .detector import CellMaps, DenseMaps

STRIDE_PX = 8  # one cell of the maps covers 8x8 pixels
DIM = 64


class RawMaps(NamedTuple):
    """What the network says before keypoints are chosen; h = H/8, w = W/8."""

    descriptors: Tensor  #: (1,64,h,w), not normalised
    logits: Tensor  #: (1,65,h,w), the last one "no keypoint here"
    reliability: Tensor  #: (1,1,h,w) in 0..1


class XFeat(nn.Module):
    """Backbone and heads; the children stand in the order of `forward`."""

    dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.half_quarter = nn.Sequential(
            *_conv(1, 4), *_conv(4, 8, stride=2), *_conv(8, 8), *_conv(8, 24, stride=2)
        )
        self.skip = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, 1))
        self.quarter = nn.Sequential(*_conv(24, 24), *_conv(24, 24))
        self.eighth = nn.Sequential(*_conv(24, 64, stride=2), *_conv(64, 64), *_conv(64, 64, 1))
        self.sixteenth = nn.Sequential(*_conv(64, 64, stride=2), *_conv(64, 64), *_conv(64, 64))
        self.thirty_second = nn.Sequential(
            *_conv(64, 128, stride=2), *_conv(128, 128), *_conv(128, 128), *_conv(128, 64, 1)
        )
        self.fusion = nn.Sequential(*_conv(64, 64), *_conv(64, 64), nn.Conv2d(64, DIM, 1))
        self.reliability = nn.Sequential(
            *_conv(64, 64, 1), *_conv(64, 64, 1), nn.Conv2d(64, 1, 1), nn.Sigmoid()
        )
        self.keypoints = nn.Sequential(
            *_conv(64, 64, 1), *_conv(64, 64, 1), *_conv(64, 64, 1), nn.Conv2d(64, 65, 1)
        )

    def forward(self, image_11HW: Tensor) -> RawMaps:
        """Maps of a grey image (1,1,H,W) of any range, padded to multiples of 32 pixels."""
        return self._maps(image_11HW)[0]

    def _maps(self, image_11HW: Tensor) -> tuple[RawMaps, Tensor]:
        """The maps, and the levels (1,192,h,w) that descriptors are made of."""
        image = normalised(image_11HW)
        eighth = self.eighth(self.quarter(self.half_quarter(image) + self.skip(image)))
        sixteenth = self.sixteenth(eighth)
        thirty_second = self.thirty_second(sixteenth)
        size = eighth.shape[-2:]
        levels = [eighth, _resize(sixteenth, size), _resize(thirty_second, size)]
        fused = self.fusion(levels[0] + levels[1] + levels[2])
        maps = RawMaps(
            descriptors=fused,
            logits=self.keypoints(F.pixel_unshuffle(image, STRIDE_PX)),
            reliability=self.reliability(fused),
        )
        return maps, torch.cat(levels, dim=1)

    def dense(self, image_11HW: Tensor) -> DenseMaps:
        """The same as heat, reliability and descriptors of the H x W pixels."""
        height, width = image_11HW.shape[-2:]
        raw = self(image_11HW)
        # Softmax spelled out: ONNX Runtime's own transposes the map twice to get there.
        odds = torch.exp(raw.logits - raw.logits.amax(dim=1, keepdim=True))
        shares = odds[:, :-1] / odds.sum(dim=1, keepdim=True)
        heat = F.pixel_shuffle(shares, STRIDE_PX).squeeze((0, 1))
        return DenseMaps(
            heat[:height, :width], raw.reliability.squeeze((0, 1)), raw.descriptors.squeeze(0)
        )

    def cells(self, image_11HW: Tensor) -> CellMaps:
        """The three levels that descriptors are made of, and these."""
        raw, levels = self._maps(image_11HW)
        feature = torch.cat([levels, raw.descriptors, raw.reliability], dim=1)
        return CellMaps(feature, F.pixel_shuffle(raw.logits[:, :-1], STRIDE_PX))


def load_xfeat(weights: Path) -> XFeat:
    """XFeat with the convolutions of a published ONNX file.

    Raises EngineError for a file that is missing, damaged or another network.
    """
    import onnx
    from onnx import numpy_helper

    if not weights.is_file():
        raise EngineError(f"{weights}: no such weights file; give the path of an XFeat ONNX file")
    try:
        graph = onnx.load(str(weights)).graph
    except Exception as error:  # protobuf raises its own unrelated classes
        raise EngineError(f"{weights}: damaged or not an ONNX file ({error})") from error
    tensors = {t.name: t for t in graph.initializer}
    sources = [node for node in graph.node if node.op_type == "Conv"]
    model = XFeat()
    targets = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    if len(sources) != len(targets):
        raise EngineError(
            f"{weights}: found {len(sources)} convolutions, expected XFeat's {len(targets)}"
        )
    for node, (name, conv) in zip(sources, targets, strict=True):
        assert conv.bias is not None
        for key, parameter in zip(node.input[1:], (conv.weight, conv.bias), strict=False):
            found = list(tensors[key].dims) if key in tensors else "no tensor"
            if found != list(parameter.shape):
                raise EngineError(
                    f"{weights}: '{key}' for {name} is {found}, expected {list(parameter.shape)}; "
                    f"this is not XFeat's ONNX file with folded batch norm"
                )
            try:
                values = torch.from_numpy(numpy_helper.to_array(tensors[key]).copy())
            except ValueError as error:
                raise EngineError(f"{weights}: '{key}' is truncated ({error})") from error
            if not bool(torch.isfinite(values).all()):
                raise EngineError(f"{weights}: '{key}' holds numbers that are not finite")
            parameter.data.copy_(values)
        if len(node.input) != 3:
            raise EngineError(f"{weights}: '{node.name or name}' has no bias, expected one")
    return model.eval()


def _conv(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    return [conv, nn.ReLU()]


def _resize(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
