"""What regression of scene coordinates is trained to make small.

SS-DVR, section 3.2 and 3.3; what becomes of coordinates that have no pixel as in ACE (Brachmann
et al., CVPR 2023, section 3.3). N cells of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...nets.scene_coordinates import Prediction
from .partition import UNKNOWN

NEAREST = 0.1  # of the usual depth: a prediction closer to the camera has no pixel
LEAK = 0.02  # of the robust error beyond its clamp, so that what is far off finds its way
FARTHEST_PX = 1000.0  # reprojection error over which only the direction is pulled at
# ACE's bounds of a coordinate that has a pixel, and the depth that others are drawn to: metres.
ACE_NEAREST, ACE_FARTHEST, ACE_DUMMY = 0.1, 1000.0, 10.0


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The total loss (eq. 17); the defaults are ours."""

    alpha: float = 20.0  #: pixels, of the score's regularisation (eq. 12)
    #: alpha is at least this, of the batch's median error: with most errors above alpha all
    #: scores fall to 1, and there they stay; 0: alpha is fixed
    alpha_of_median: float = 2.0
    beta: float = 0.1  #: weight of the Euclidean loss
    gamma: float = 10.0  #: weight of the cross entropy
    score: bool = True  #: whether discriminability weighs the reprojection error
    score_from: float = 0.15  #: share of the schedule from which it does
    #: pixels where errors flatten, at first and last; None: never
    clamp_px: tuple[float, float] | None = (50.0, 2.0)
    #: Euclidean distances are counted in pixels (times focal length over depth), and so are
    #: those of coordinates without a pixel, from the usual depth; else in map units, from
    #: ACE's dummy at 10 of them
    in_pixels: bool = True
    #: Euclidean loss and cross entropy of places are means over the cells of known depth, not
    #: sums over them for each cell of the batch
    over_known: bool = True


@dataclass(frozen=True, kw_only=True)
class Batch:
    """N cells, float32, and the cameras that saw them; lengths in map units."""

    feature: Tensor  #: (N,C)
    ray: Tensor  #: (N,2): x/z, y/z
    rotation: Tensor  #: (N,3,3) of cam_from_world
    translation: Tensor  #: (N,3) of cam_from_world
    focal_px: Tensor  #: (N,)
    usual_depth: Tensor  #: (N,): of what the photo sees
    depth: Tensor  #: (N,), 0 for unknown
    xyz_world: Tensor  #: (N,3), anything where depth is unknown
    structural: Tensor  #: (N,) int64, UNKNOWN where depth is
    semantic: Tensor  #: (N,) int64


def total_loss(
    found: Prediction, batch: Batch, config: LossConfig, progress: float
) -> tuple[Tensor, Tensor]:
    """The total (eq. 17) over N, and the reprojection errors (N,) in pixels.

    progress: share of the schedule that is done. A sum over the batch (eq. 15, 16) is given as
    a mean: AdamW does not know the difference.
    """
    known = batch.structural != UNKNOWN
    # Divisor: of a mean over known cells, or of a sum over them by the size of the batch.
    share = 1.0 if config.over_known else known.float().mean()
    if config.in_pixels:
        error_px, visible = reprojection_px(found.xyz_world, batch)
        away = LEAK * softened(error_px)
    else:
        error_px, visible, away = reprojection_or_dummy(found.xyz_world, batch)
    weighed = _clamped(error_px, config.clamp_px, progress)
    if config.score and progress >= config.score_from:
        usual = config.alpha_of_median * weighed.detach().median()
        alpha = usual.clamp(min=config.alpha)
        weighed = found.score * weighed - alpha * torch.log(found.score)
    loss = torch.where(visible, weighed, away).mean()
    if known.any():
        distance = (found.xyz_world - batch.xyz_world)[known].norm(dim=1)
        if config.in_pixels:
            distance = softened(distance * batch.focal_px[known] / batch.depth[known])
        loss = loss + share * config.beta * distance.mean()
        if found.structural.shape[1] > 1:
            of_places = F.cross_entropy(found.structural.float()[known], batch.structural[known])
            loss = loss + share * config.gamma * of_places
    if found.semantic.shape[1] > 1:
        loss = loss + config.gamma * F.cross_entropy(found.semantic.float(), batch.semantic)
    return loss, error_px


def _clamped(error_px: Tensor, clamp_px: tuple[float, float] | None, progress: float) -> Tensor:
    """Errors (N,) that flatten at a bound which falls over the schedule (ACE, eq. 6 and 7)."""
    if clamp_px is None:
        return error_px
    first, last = clamp_px
    clamp = last + (first - last) * math.sqrt(1.0 - progress**2)
    return clamp * torch.tanh(error_px / clamp) + LEAK * error_px


def reprojection_px(xyz_world: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """L1 error (N,) in pixels (eq. 11), and where it is one (N,): ahead and not far off.

    Elsewhere it is the distance, as pixels at the usual depth, from the point at that
    depth on the cell's ray: coordinates of unknown depth begin there.
    """
    usual_depth = batch.usual_depth
    in_camera, error = _reprojected(xyz_world, batch, NEAREST * usual_depth)
    visible = (in_camera[:, 2] > NEAREST * usual_depth) & (error < FARTHEST_PX)
    away = _from_ray(in_camera, batch, usual_depth) * batch.focal_px / usual_depth
    return torch.where(visible, error, away), visible


def reprojection_or_dummy(xyz_world: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """L1 error (N,) in pixels (eq. 11), where it is one (N,), and ACE's distance elsewhere (N,)."""
    nearest = torch.full_like(batch.usual_depth, ACE_NEAREST)
    in_camera, error = _reprojected(xyz_world, batch, nearest)
    depth = in_camera[:, 2]
    valid = (depth >= ACE_NEAREST) & (depth <= ACE_FARTHEST) & (error < FARTHEST_PX)
    away = _from_ray(in_camera, batch, torch.full_like(nearest, ACE_DUMMY))
    return error, valid, away


def _reprojected(xyz_world: Tensor, batch: Batch, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N,3) in their cameras, and their L1 errors (N,) in pixels."""
    in_camera = torch.einsum("nij,nj->ni", batch.rotation, xyz_world) + batch.translation
    ray = in_camera[:, :2] / torch.maximum(in_camera[:, 2], nearest)[:, None]
    return in_camera, (ray - batch.ray).abs().sum(dim=1) * batch.focal_px


def _from_ray(in_camera: Tensor, batch: Batch, depth: Tensor) -> Tensor:
    """L1 distance (N,) of points (N,3) from those at a depth (N,) on their cells' rays."""
    there = depth[:, None] * F.pad(batch.ray, (0, 1), value=1.0)
    return (in_camera - there).abs().sum(dim=1)


def softened(error_px: Tensor) -> Tensor:
    """Errors far over FARTHEST_PX grow as their logarithm: a point that went to another
    place altogether must not outweigh a whole batch.
    """
    return FARTHEST_PX * torch.log1p(error_px / FARTHEST_PX)
