"""Keypoints of fixed number from dense maps, inside the network's graph.

Every shape is static and every operator is one that TensorRT 10 parses: empty
slots carry score 0 instead of being left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NMS_RADIUS_PX = 2  # one keypoint in any 5x5 window
TENSORRT_MAX_KEYPOINTS = 3840  # its TopK layer takes no more


class DenseMaps(NamedTuple):
    """What a network says about one image.

    h and w may reach over H and W (padding): nothing is found there.
    """

    heat: Tensor  #: (H,W) > 0, how much a pixel is a keypoint
    reliability: Tensor | None  #: (h,w) of the descriptors
    descriptors: Tensor  #: (D,h,w), one a cell of `stride` pixels
    place: Tensor | None = None  #: (1,G,H/32,W/32): what the network sees, not negative


class CellMaps(NamedTuple):
    """What a network says in cells of 8 x 8 pixels, for scene coordinates.

    Both may reach over the image (padding).
    """

    feature: Tensor  #: (1,C,h,w)
    logits: Tensor  #: (1,1,8h,8w) of a keypoint at each pixel


class Keypoints(NamedTuple):
    """The outputs that `edge_reloc.features.network` reads."""

    xy_px: Tensor  #: (K,2), centre of the top-left pixel at (0, 0)
    scores: Tensor  #: (K,), best first, 0 for an empty slot
    descriptors: Tensor  #: (K,D) of unit length


class Detector(nn.Module):
    """Non-maximum suppression, the best K, sub-pixel positions, descriptors.

    threshold: heat under which a maximum is no keypoint. border_px: nothing is found
    this close to the image's edge. refine_radius_px: half the window whose centre
    of heat is the keypoint's position; 0 keeps pixels.
    """

    def __init__(
        self,
        keypoints: int,
        *,
        threshold: float,
        stride: int = 8,
        border_px: int = 0,
        refine_radius_px: int = 1,
    ) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.threshold = threshold
        self.stride = stride
        self.border_px = border_px
        self.refine_radius_px = refine_radius_px

    def forward(self, maps: DenseMaps) -> Keypoints:
        """The best K keypoints of one image's maps."""
        heat = maps.heat
        height, width = heat.shape
        window = 2 * NMS_RADIUS_PX + 1
        peak = F.max_pool2d(heat[None, None], window, stride=1, padding=NMS_RADIUS_PX).reshape(
            height, width
        )
        is_peak = (heat == peak) & (heat > self.threshold)
        score = heat
        if maps.reliability is not None:
            score = heat * _upsample(maps.reliability, self.stride, height, width)
        ranked = torch.where(is_peak, score, 0.0)
        if self.border_px:
            b = self.border_px
            ranked = F.pad(ranked[b : height - b, b : width - b], (b, b, b, b))
        # Two peaks never share a 2x2 block, so a quarter of the values is sorted.
        blocks = F.max_pool2d(ranked[None, None], 2, ceil_mode=True)
        scores, block = torch.topk(blocks.flatten(), self.keypoints, sorted=True)
        # Indices are computed in float32, exact to 2^24: engines lack integer division.
        block_row, block_column = _divide(block.to(heat.dtype), blocks.shape[-1])
        corner_y, corner_x = _divide(torch.arange(4, dtype=heat.dtype), 2)
        ys = (2 * block_row[:, None] + corner_y).clamp(max=height - 1)
        xs = (2 * block_column[:, None] + corner_x).clamp(max=width - 1)
        corner = _take(ranked.flatten(), ys * width + xs).argmax(dim=1).to(heat.dtype)
        dy, dx = _divide(corner, 2)
        xy = self._refine(heat, 2 * block_column + dx, 2 * block_row + dy)
        return Keypoints(xy, scores, sample(maps.descriptors, xy, self.stride))

    def _refine(self, heat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Centre of heat (K,2) of the window around whole pixels x, y (K,)."""
        width = heat.shape[1]
        r = self.refine_radius_px
        if r == 0:
            return torch.stack([x, y], dim=1)
        side = 2 * r + 1
        dy, dx = _divide(torch.arange(side * side, dtype=heat.dtype), side)
        dy, dx = dy - r, dx - r
        padded = F.pad(heat, (r, r, r, r))
        index = (y[:, None] + dy + r) * (width + 2 * r) + (x[:, None] + dx + r)
        weight = _take(padded.flatten(), index)
        total = weight.sum(dim=1).clamp(min=1e-12)
        shift_x = (weight * dx).sum(dim=1) / total
        shift_y = (weight * dy).sum(dim=1) / total
        return torch.stack([x + shift_x, y + shift_y], dim=1)


def sample(maps_Dhw: Tensor, xy_px: Tensor, stride: int) -> Tensor:
    """Unit vectors (K,D) of maps (D,h,w) at pixels (K,2), bicubic.

    A cell's value stands at its centre, pixel stride * i + (stride - 1) / 2; over
    the border it goes on unchanged. Whole descriptors are gathered from the
    transposed map: 16 contiguous reads a keypoint, where grid_sample makes 16
    scattered reads a keypoint and channel.
    """
    dim, height, width = maps_Dhw.shape
    cell = (xy_px - (stride - 1) / 2) / stride
    start = torch.floor(cell)
    weight_x, weight_y = _cubic(cell[:, 0] - start[:, 0]), _cubic(cell[:, 1] - start[:, 1])
    tap = torch.arange(4, dtype=xy_px.dtype) - 1
    columns = (start[:, :1] + tap).clamp(0, width - 1)
    rows = (start[:, 1:] + tap).clamp(0, height - 1)
    index = (rows[:, :, None] * width + columns[:, None, :]).reshape(-1, 16)
    weight = (weight_y[:, :, None] * weight_x[:, None, :]).reshape(-1, 1, 16)
    taps = _take(maps_Dhw.reshape(dim, height * width).t(), index)
    return F.normalize(torch.matmul(weight, taps).squeeze(1), dim=1)


def _cubic(t: Tensor) -> Tensor:
    """Weights (K,4) of the cells at -1, 0, 1, 2 for a position t (K,) in 0..1.

    Keys, "Cubic convolution interpolation", 1981, with a = -0.75 as grid_sample.
    """
    a = -0.75
    distance = torch.stack([t + 1, t, 1 - t, 2 - t], dim=1)
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.cat([far[:, :1], near[:, 1:3], far[:, 3:]], dim=1)


def _divide(values: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """Quotient and remainder of whole numbers kept in floats."""
    quotient = torch.floor((values + 0.5) / divisor)
    return quotient, values - quotient * divisor


def _take(table: Tensor, index: Tensor) -> Tensor:
    """Rows of `table` at whole numbers kept in floats, any shape of index."""
    rows = torch.index_select(table, 0, index.to(torch.int32).flatten())
    return rows.reshape(*index.shape, *table.shape[1:])


def _upsample(maps: Tensor, stride: int, height: int, width: int) -> Tensor:
    if maps.shape == (height, width):
        return maps
    size = (maps.shape[0] * stride, maps.shape[1] * stride)
    large = F.interpolate(maps[None, None], size=size, mode="bilinear", align_corners=False)
    return large.reshape(size)[:height, :width]
