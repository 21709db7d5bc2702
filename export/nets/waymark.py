"""Waymark: keypoints, descriptors, dense features and a place embedding in one pass.

Our own network. Residual blocks at 1/4 to 1/32 of the image, widened where they are
cheap; a detector that works at half resolution, since a keypoint is as exact as the maps
it is read from; everything that describes is fused at 1/8. Only convolutions, average
pooling, bilinear enlargement and pixel shuffles: operators that engines fuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edge_reloc.errors import EngineError

from .blocks import enlarge, keypoint_head, normalised, read_weights
from .detector import CellMaps, DenseMaps

STRIDE_PX = 8  # one cell of descriptors, reliability and dense features
DIM = 64
EMBEDDING_DIM = 256


class Widths(NamedTuple):
    """Channels."""

    half: int  #: features at 1/2
    quarter: int  #: features at 1/4
    eighth: int  #: features at 1/8
    sixteenth: int  #: features at 1/16
    thirty_second: int  #: features at 1/32
    fusion: int  #: of all levels, at 1/8
    detector: int


SIZES = {
    "s": Widths(8, 16, 32, 64, 96, 64, 8),
    "m": Widths(16, 24, 64, 88, 112, 64, 8),
}


class WaymarkMaps(NamedTuple):
    """Of images (B,1,H,W); h = H/8, w = W/8, padded to multiples of 32 pixels before."""

    logits: Tensor  #: (B,1,H,W) of a keypoint at each pixel
    descriptors: Tensor  #: (B,64,h,w), not normalised
    reliability: Tensor  #: (B,1,h,w), logits
    dense: Tensor  #: (B,C,h,w) features
    place: Tensor  #: (B,256,H/32,W/32), not negative
    embedding: Tensor  #: (B,256) of unit length: the root of the mean of place's squares


class Block(nn.Module):
    """Two convolutions around a skip, which is a 1x1 where widths differ."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same size."""
        return F.relu(self.second(F.relu(self.first(x))) + self.skip(x))


class Waymark(nn.Module):
    """The network; `size` is "s" or "m"."""

    dim = DIM
    place_dim = EMBEDDING_DIM

    def __init__(self, size: str = "m") -> None:
        super().__init__()
        self.size = size
        w = SIZES[size]
        self.dense_dim = w.fusion
        self.halve: nn.Module = nn.PixelUnshuffle(2)
        self.stem = nn.Sequential(
            nn.Conv2d(4, w.half, 3, padding=1, bias=False), nn.BatchNorm2d(w.half), nn.ReLU()
        )
        self.quarter = Block(w.half, w.quarter)
        self.eighth = Block(w.quarter, w.eighth)
        self.sixteenth = Block(w.eighth, w.sixteenth)
        self.thirty_second = Block(w.sixteenth, w.thirty_second)
        widths = (w.quarter, w.eighth, w.sixteenth, w.thirty_second)
        self.laterals = nn.ModuleList(nn.Conv2d(width, w.fusion, 1) for width in widths)
        self.fusion = Block(w.fusion, w.fusion)
        self.descriptors = nn.Conv2d(w.fusion, DIM, 1)
        self.reliability = nn.Conv2d(w.fusion, 1, 1)
        self.detect_half = nn.Conv2d(w.half, w.detector, 1)
        self.detect_quarter = nn.Conv2d(w.quarter, w.detector, 1)
        self.detect_fused = nn.Conv2d(w.fusion, w.detector, 1)
        self.detector = keypoint_head(w.detector)
        self.embedding = nn.Conv2d(w.sixteenth + w.thirty_second, EMBEDDING_DIM, 1)

    def forward(self, image_B1HW: Tensor) -> WaymarkMaps:
        """Maps of grey images of any range, padded to multiples of 32 pixels."""
        return self._maps(image_B1HW)[0]

    def _maps(self, image_B1HW: Tensor) -> tuple[WaymarkMaps, Tensor]:
        """The maps, and all levels side by side at 1/8."""
        image = normalised(image_B1HW)
        half = self.stem(self.halve(image))
        quarter = self.quarter(F.avg_pool2d(half, 2))
        eighth = self.eighth(F.avg_pool2d(quarter, 2))
        sixteenth = self.sixteenth(F.avg_pool2d(eighth, 2))
        thirty_second = self.thirty_second(F.avg_pool2d(sixteenth, 2))
        levels = (F.avg_pool2d(quarter, 2), eighth, sixteenth, thirty_second)
        at_own_size = [layer(x) for layer, x in zip(self.laterals, levels, strict=True)]
        fused = self.fusion(
            at_own_size[0]
            + at_own_size[1]
            + enlarge(at_own_size[2], 2)
            + enlarge(at_own_size[3], 4)
        )
        logits = self.detector(
            self.detect_half(half)
            + enlarge(self.detect_quarter(quarter), 2)
            + enlarge(self.detect_fused(fused), 4)
        )
        deep = torch.cat([F.avg_pool2d(sixteenth, 2), thirty_second], dim=1)
        # Generalised mean with power 2: strong responses count more, and no root of 0.
        place = F.relu(self.embedding(deep))
        pooled = place.square().mean(dim=(2, 3))
        maps = WaymarkMaps(
            logits,
            self.descriptors(fused),
            self.reliability(fused),
            fused,
            place,
            F.normalize(torch.sqrt(pooled + 1e-6), dim=1),
        )
        beside = [levels[0], eighth, enlarge(sixteenth, 2), enlarge(thirty_second, 4)]
        return maps, torch.cat(beside, dim=1)

    def cells(self, image_11HW: Tensor) -> CellMaps:
        """All that the network sees at 1/8, from the finest level to the descriptors."""
        maps, levels = self._maps(image_11HW)
        seen = [levels, maps.dense, maps.descriptors, torch.sigmoid(maps.reliability)]
        return CellMaps(torch.cat(seen, dim=1), maps.logits)

    def dense(self, image_11HW: Tensor) -> DenseMaps:
        """Heat, reliability and descriptors of the H x W pixels."""
        height, width = image_11HW.shape[-2:]
        maps = self(image_11HW)
        heat = torch.sigmoid(maps.logits).squeeze((0, 1))[:height, :width]
        reliability = torch.sigmoid(maps.reliability).squeeze((0, 1))
        return DenseMaps(heat, reliability, maps.descriptors.squeeze(0), maps.place)


def load_waymark(weights: Path) -> Waymark:
    """A trained network, batch norm folded into its convolutions.

    weights: `checkpoint.pt` of a training, or a file of only "size" and "network".
    Raises EngineError for a file that is missing, damaged or another network.
    """
    state = read_weights(weights, "weights", "train one with 'edge-reloc train-features'")
    try:
        model = Waymark(state.get("size") or state["config"]["size"])
        model.load_state_dict({k: v.float() for k, v in state["network"].items()})
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise EngineError(f"{weights}: not Waymark's weights ({error})") from error
    return fold(model.eval())


def fold(model: Waymark) -> Waymark:
    """The same network with its batch norm inside the convolutions; in place.

    And with the first convolution on the image itself: ONNX Runtime on a processor took 3 % of
    the network's time for the pixel unshuffle before it.
    """
    for block in model.modules():
        for name, pair in list(block.named_children()):
            if isinstance(pair, nn.Sequential) and isinstance(pair[-1], nn.BatchNorm2d):
                block.add_module(name, _folded(pair))
    model.halve = nn.Identity()
    model.stem = nn.Sequential(_unshuffling(_folded(model.stem)), nn.ReLU())
    return model


def _folded(pair: nn.Sequential) -> nn.Conv2d:
    """A convolution with the batch norm behind it."""
    conv, norm = pair[0], pair[1]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm)


def _unshuffling(conv: nn.Conv2d) -> nn.Conv2d:
    """A 3x3 convolution with the pixel unshuffle by 2 before it: one of 6x6 with stride 2."""
    weight, bias = conv.weight, conv.bias
    assert bias is not None
    both = nn.Conv2d(1, len(weight), 6, stride=2, padding=2)
    both.weight = nn.Parameter(F.pixel_shuffle(weight, 2))
    both.bias = nn.Parameter(bias)
    return both
