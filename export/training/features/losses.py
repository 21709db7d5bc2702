"""What the feature network is asked for, on two views of one photo."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...nets.waymark import STRIDE_PX, WaymarkMaps
from .lessons import FLOOR
from .views import Views, apply, inverse, pixel_grid

TEMPERATURE = 0.06
BEYOND_WEIGHT = 0.3  # of what lies beyond the photo, against 1.1 of a keypoint
PLACE_TEMPERATURE = 0.1
NOWHERE = -50.0  # less than any logit
NEARLY = 4.0  # minus the logit at which a pixel begins to matter as a keypoint
TOO_NEAR_PX = 6.0  # points this close are neither right nor wrong


class Matches(NamedTuple):
    """K points in each of B pairs of views. Their number is fixed, so that a GPU can record a
    step once; where views share too little, some are no matches.
    """

    first: Tensor  #: (B,K,2) pixels in the first view
    second: Tensor  #: (B,K,2) pixels in the second view
    right: Tensor  #: (B,K) bool: whether both views show it


class Losses(NamedTuple):
    """Means over a batch."""

    keypoints: Tensor
    descriptors: Tensor
    reliability: Tensor
    places: Tensor
    distilled: Tensor  #: lost of the teacher's descriptors, or the `drift` from what is held
    accuracy: Tensor  #: share of matches that are nearest neighbours


def choose_matches(first: Views, second: Views, count: int, generator: torch.Generator) -> Matches:
    """Up to `count` points a view, one a cell at most, likelier where the heat is high."""
    size = first.heat.shape[-1]
    masked = torch.where(first.within > 0, first.heat, torch.full_like(first.heat, NOWHERE))
    best, place = F.pixel_unshuffle(masked, STRIDE_PX).max(dim=1)
    best, place = best.flatten(1), place.flatten(1)
    cell = torch.arange(best.shape[1], device=best.device)
    x = cell % (size // STRIDE_PX) * STRIDE_PX + place % STRIDE_PX
    y = cell // (size // STRIDE_PX) * STRIDE_PX + place // STRIDE_PX
    xy = torch.stack([x, y], dim=2).to(torch.float32)
    there = apply(inverse(second.photo_from_view) @ first.photo_from_view, xy)
    seen = (there >= 0).all(2) & (there <= size - 1).all(2) & (best >= FLOOR)
    there = there.clamp(0, size - 1)
    seen &= look_up(second.within, there).squeeze(2) > 0.99
    noise = torch.rand(best.shape, generator=generator, device=best.device)
    gumbel = -torch.log(-torch.log(noise.clamp(1e-6, 1 - 1e-6)))
    wanted = torch.where(seen, 0.35 * best + gumbel, torch.full_like(best, NOWHERE))
    chosen = torch.topk(wanted, min(count, best.shape[1])).indices
    both = chosen[:, :, None].expand(-1, -1, 2)
    return Matches(xy.gather(1, both), there.gather(1, both), seen.gather(1, chosen))


def look_up(maps: Tensor, xy: Tensor, stride: int = 1) -> Tensor:
    """(B,N,C) of maps (B,C,h,w) at pixels (B,N,2): bilinear, of strided maps bicubic, as the
    detector's `sample` reads them.
    """
    height, width = maps.shape[-2:]
    cell = (xy - (stride - 1) / 2) / stride
    normal = torch.stack([cell[..., 0] / (width - 1), cell[..., 1] / (height - 1)], -1) * 2 - 1
    mode = "bilinear" if stride == 1 else "bicubic"
    taken = F.grid_sample(
        maps, normal[:, :, None], align_corners=True, padding_mode="border", mode=mode
    )
    return taken.squeeze(3).transpose(1, 2)


def pair_losses(
    maps: tuple[WaymarkMaps, WaymarkMaps],
    retold: tuple[Tensor, Tensor],
    views: tuple[Views, Views],
    matches: Matches,
) -> Losses:
    """Of one batch of pairs. retold (B,D,h,w): the teacher's descriptors as read from our
    dense features.
    """
    first, second = maps
    keypoints = 0.5 * sum(
        _keypoint_loss(of.logits, view.heat, view.within)
        for of, view in zip(maps, views, strict=True)
    )
    distilled = 0.5 * sum(
        _distillation_loss(ours, view.described, view.within)
        for ours, view in zip(retold, views, strict=True)
    )
    right = matches.right.flatten()
    share = right / right.sum().clamp(min=1)
    ours = _described(first, matches.first)
    theirs = _described(second, matches.second)
    apart = _too_near(views[1], matches) | ~right[:, None] | ~right[None]
    similarity = (ours @ theirs.T / TEMPERATURE).masked_fill(apart, -1e4)
    # Shares of the right one among all of the other views', both ways.
    log_share = 2 * similarity.diagonal() - similarity.logsumexp(1) - similarity.logsumexp(0)
    certain = torch.exp(log_share.detach())
    asked = look_up(first.reliability, matches.first, STRIDE_PX).flatten()
    doubt = F.binary_cross_entropy_with_logits(asked, certain, reduction="none")
    nearest = similarity.detach().argmax(dim=1)
    found = nearest == torch.arange(len(nearest), device=nearest.device)
    return Losses(
        torch.as_tensor(keypoints),
        -0.5 * (log_share * share).sum(),
        (doubt * share).sum(),
        _place_loss(first.embedding, second.embedding, overlap(*views), views[0].rows),
        torch.as_tensor(distilled),
        (found * share).sum(),
    )


def _described(maps: WaymarkMaps, xy: Tensor) -> Tensor:
    """(B*K,D) unit vectors at pixels (B,K,2)."""
    return F.normalize(look_up(maps.descriptors, xy, STRIDE_PX).flatten(0, 1), dim=1)


def _too_near(views: Views, matches: Matches) -> Tensor:
    """(B*K,B*K) whether two matches' points in the second views are, in the photo, so near
    that they are neither right nor wrong for each other. Photos may come more than once.
    """
    count = matches.right.shape[1]
    xy = apply(views.photo_from_view, matches.second).flatten(0, 1)
    reach = (TOO_NEAR_PX * views.scale).repeat_interleave(count)
    rows = views.rows.repeat_interleave(count)
    near = torch.cdist(xy, xy) < torch.maximum(reach[:, None], reach[None])
    near &= rows[:, None] == rows[None]
    return near.fill_diagonal_(False)


def overlap(first: Views, second: Views) -> Tensor:
    """(B,) share of what a view shows of the photo that the other shows too, both ways'
    mean.
    """
    size = first.clean.shape[-1]
    grid = pixel_grid(size, first.clean.device).view(size, size, 2)[8::16, 8::16].reshape(-1, 2)
    shares = []
    for here, there in ((first, second), (second, first)):
        between = inverse(there.photo_from_view) @ here.photo_from_view
        xy = apply(between, grid[None].expand(len(between), -1, -1))
        seen = ((xy >= 0) & (xy <= size - 1)).all(2)
        inside = here.inside[:, 0, 8::16, 8::16].flatten(1)
        shares.append((seen & inside).sum(1) / inside.sum(1).clamp(min=1))
    return 0.5 * (shares[0] + shares[1])


def _place_loss(first: Tensor, second: Tensor, shared: Tensor, photos: Tensor) -> Tensor:
    """Two things are asked of embeddings: each view's other view is to be found among those
    of the batch, and their similarity is to say how much two views share.
    """
    same = (photos[:, None] == photos[None]).fill_diagonal_(False)
    cosine = first @ second.T
    similarity = (cosine / PLACE_TEMPERATURE).masked_fill(same, -1e4)
    right = torch.arange(len(first), device=first.device)
    found = 0.5 * (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right))
    sharing = F.binary_cross_entropy_with_logits(
        (cosine - 0.5) / PLACE_TEMPERATURE, torch.diag(shared), reduction="none"
    ).masked_fill(same, 0.0)
    # Half the weight to the pairs that share something, half to all that do not.
    own = sharing.diagonal().sum()
    others = (sharing.sum() - own) / max(sharing.numel() - len(first), 1)
    return found + 0.5 * (own / len(first) + others)


def _distillation_loss(ours: Tensor, theirs: Tensor, within: Tensor) -> Tensor:
    """1 - cosine with the teacher's descriptors, where the photo is."""
    weight = (F.avg_pool2d(within, STRIDE_PX) > 0.99).to(torch.float32).squeeze(1)
    cosine = F.cosine_similarity(ours, theirs, dim=1)
    return (weight * (1.0 - cosine)).sum() / weight.sum().clamp(min=1.0)


def drift(now: WaymarkMaps, before: WaymarkMaps) -> Tensor:
    """How far descriptors, their reliability and embeddings of the same images have moved."""
    turned = 1.0 - F.cosine_similarity(now.descriptors.float(), before.descriptors.float(), dim=1)
    doubt = (now.reliability.float().sigmoid() - before.reliability.float().sigmoid()).abs()
    elsewhere = 1.0 - (now.embedding.float() * before.embedding.float()).sum(1)
    return turned.mean() + doubt.mean() + elsewhere.mean()


def _keypoint_loss(logits: Tensor, teacher: Tensor, within: Tensor) -> Tensor:
    """How far from the teacher's, where it matters: keypoints, and what is nearly one.

    At the photo's end and beyond there is none, whatever the teacher finds there.
    """
    target = torch.where(within > 0, teacher, torch.full_like(teacher, FLOOR))
    weight = torch.where(within > 0, 0.1 + torch.sigmoid(target + NEARLY), BEYOND_WEIGHT)
    away = F.smooth_l1_loss(logits, target, reduction="none")
    return (weight * away).sum() / weight.sum().clamp(min=1.0)
