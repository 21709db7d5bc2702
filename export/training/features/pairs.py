"""Two views of one photo under homographies of any heading, and what cameras do to them.

Everything runs in batches on the device of the photos: on a GPU, making pairs costs less
than the network.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .photos import Photos


class Views(NamedTuple):
    """B views: clean (B,1,S,S) and as a camera gave them, `image`; 0..255 both.

    photo_from_view (B,3,3): pixels of the view to pixels of the photo. inside (B,1,S,S):
    whether a pixel shows the photo.
    """

    clean: Tensor
    image: Tensor
    photo_from_view: Tensor
    inside: Tensor


def make_views(
    photos: Photos, rows: Tensor, size_px: int, generator: torch.Generator, *, hard: float
) -> tuple[Views, Views]:
    """Two views of each of the photos `rows` (B,), which share most of what they show.

    hard: 0 to 1, how far the views differ; any heading from 0 on.
    """
    device = photos.pixels.device
    side = photos.sizes[rows].to(torch.float32)
    centre = torch.stack([side[:, 1], side[:, 0]], dim=1) / 2 - 0.5
    shortest = side.min(dim=1).values
    # Both look at one place of the photo, with a base scale that the two vary.
    room = (side.flip(1) - shortest[:, None] * 0.7).clamp(min=0) / 2
    place = centre + (2 * _rand((len(rows), 2), generator) - 1) * room
    base = shortest / size_px * (0.55 + 0.5 * _rand((len(rows),), generator))
    views = []
    for _ in range(2):
        shape = (len(rows),)
        angle = 2 * math.pi * _rand(shape, generator)
        scale = base * torch.exp((2 * _rand(shape, generator) - 1) * (0.1 + 0.4 * hard))
        shift = (2 * _rand((len(rows), 2), generator) - 1) * (0.1 * hard * shortest[:, None])
        tilt = (2 * _rand((len(rows), 2), generator) - 1) * (0.15 + 0.6 * hard) / size_px
        squeeze = torch.exp((2 * _rand(shape, generator) - 1) * (0.05 + 0.35 * hard))
        turn = math.pi * _rand(shape, generator)
        views.append(
            _photo_from_view(size_px, angle, scale, place + shift, tilt, squeeze, turn).to(device)
        )
    seen = [warp(photos, rows, matrix, size_px) for matrix in views]
    return (
        Views(seen[0][0], photograph(seen[0][0], generator, hard), views[0], seen[0][1]),
        Views(seen[1][0], photograph(seen[1][0], generator, hard), views[1], seen[1][1]),
    )


def _photo_from_view(
    size_px: int, angle: Tensor, scale: Tensor, place: Tensor, tilt: Tensor, squeeze: Tensor,
    turn: Tensor,
) -> Tensor:  # fmt: skip
    """(B,3,3) of a view turned by `angle`, tilted, squeezed along `turn`, at `place`."""
    middle = torch.eye(3).repeat(len(angle), 1, 1)
    middle[:, 0, 2] = middle[:, 1, 2] = -(size_px - 1) / 2
    bend = torch.eye(3).repeat(len(angle), 1, 1)
    bend[:, 2, :2] = tilt
    along = _rotation(turn)
    stretch = torch.eye(3).repeat(len(angle), 1, 1)
    stretch[:, 0, 0], stretch[:, 1, 1] = squeeze, 1 / squeeze
    put = torch.eye(3).repeat(len(angle), 1, 1)
    put[:, 0, 0] = put[:, 1, 1] = scale
    put[:, :2, 2] = place
    return put @ _rotation(angle) @ along @ stretch @ along.transpose(1, 2) @ bend @ middle


def _rotation(angle: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle)
    matrix[:, 1, 0] = torch.sin(angle)
    matrix[:, 0, 1] = -matrix[:, 1, 0]
    return matrix


def warp(
    photos: Photos, rows: Tensor, photo_from_view: Tensor, size_px: int
) -> tuple[Tensor, Tensor]:
    """Views (B,1,S,S) in 0..255, the photo's mean grey outside of it, and what is inside."""
    device = photos.pixels.device
    grid = pixel_grid(size_px, device)
    images, insides = [], []
    for row, matrix in zip(rows.tolist(), photo_from_view, strict=True):
        photo = photos.image(row).to(torch.float32)
        height, width = photo.shape
        xy = apply(matrix[None], grid[None])[0]
        inside = ((xy >= 0) & (xy <= torch.tensor([width - 1, height - 1], device=device))).all(1)
        inside &= _depth(matrix, grid) > 0.2
        normal = xy / torch.tensor([width - 1, height - 1], device=device) * 2 - 1
        mean = photo.mean()
        # Where the view is smaller than the photo, a blurred photo avoids aliasing.
        shrink = math.sqrt(float(torch.linalg.det(matrix[:2, :2]).abs().clamp(min=1e-6)))
        source = _blurred(photo[None, None] - mean, 0.4 * max(shrink - 1.0, 0.0))
        seen = F.grid_sample(
            source, normal.view(1, size_px, size_px, 2), align_corners=True, padding_mode="zeros"
        )
        mask = inside.view(1, 1, size_px, size_px)
        images.append(seen * mask + mean)
        insides.append(mask)
    return torch.cat(images), torch.cat(insides)


def pixel_grid(size_px: int, device: torch.device) -> Tensor:
    """(S*S,2) pixels x, y, row by row."""
    y, x = torch.meshgrid(
        torch.arange(size_px, device=device, dtype=torch.float32),
        torch.arange(size_px, device=device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def apply(matrix: Tensor, xy: Tensor) -> Tensor:
    """Homographies (B,3,3) on points (B,N,2)."""
    mapped = xy @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 2]
    depth = (xy * matrix[:, None, 2, :2]).sum(-1, keepdim=True) + matrix[:, None, 2:, 2]
    return mapped / depth.clamp(min=1e-3)


def _depth(matrix: Tensor, xy: Tensor) -> Tensor:
    return xy @ matrix[2, :2] + matrix[2, 2]


def photograph(clean: Tensor, generator: torch.Generator, hard: float) -> Tensor:
    """What light, lens, sensor and coding make of clean views (B,1,S,S)."""
    count, _, size, _ = clean.shape
    device = clean.device

    def draw(*shape: int) -> Tensor:
        return _rand((count, *shape), generator).to(device)

    image = clean / 255.0
    # Light that falls unevenly, with a spot or a shadow.
    uneven = F.interpolate(draw(1, 4, 4), size=(size, size), mode="bicubic") - 0.5
    image = image * torch.exp(0.9 * hard * draw(1, 1, 1) * uneven)
    gamma = torch.exp((2 * draw(1, 1, 1) - 1) * (0.3 + 0.5 * hard))
    image = image.clamp(1e-4, 1.0) ** gamma
    night = torch.where(draw(1, 1, 1) < 0.2 * hard, 0.05 + 0.2 * draw(1, 1, 1), 1.0)
    gain = torch.exp((2 * draw(1, 1, 1) - 1.2) * (0.15 + 0.3 * hard))
    image = (image * gain).clamp(0, 1.2)
    # Motion and defocus: a line of samples of some length, and a soft lens.
    image = _smear(image, draw(1), draw(1), hard)
    sigma = 0.7 * hard * float(draw(1).mean())
    image = _blurred(image, sigma)
    photons = 0.01 + 0.05 * hard * draw(1, 1, 1) ** 2
    noise = torch.randn(image.shape, generator=generator).to(device)
    image = image * night + noise * photons * torch.sqrt(image.clamp(min=0.01) * night)
    image = image / night
    # Eight bits, after the exposure that the camera chose.
    levels = 255.0 * torch.where(night < 1.0, night + 0.2, 1.0)
    return (torch.round(image * levels) / levels).clamp(0, 1) * 255.0


def _smear(image: Tensor, length: Tensor, angle: Tensor, hard: float) -> Tensor:
    """Mean along a line of up to 6 * hard pixels, in a third of the views."""
    count, _, size, _ = image.shape
    reach = torch.where(length < 0.33, 6.0 * hard * 3 * length, torch.zeros_like(length))
    direction = torch.cat([torch.cos(math.pi * angle), torch.sin(math.pi * angle)], dim=1)
    base = pixel_grid(size, image.device).view(1, size, size, 2)
    total = torch.zeros_like(image)
    steps = (-0.5, -0.25, 0.0, 0.25, 0.5)
    for step in steps:
        grid = base + (step * reach * direction).view(count, 1, 1, 2)
        normal = grid / (size - 1) * 2 - 1
        total = total + F.grid_sample(image, normal, align_corners=True, padding_mode="border")
    return total / len(steps)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    if sigma < 0.15:
        return image
    radius = max(int(2.5 * sigma + 0.5), 1)
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1))


def _rand(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator)
