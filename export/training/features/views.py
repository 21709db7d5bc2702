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

from .photos import LEVELS, Photos

EDGE_PX = 5  # of the photo inside a view: what is found there is the photo's end
NARROWEST = 0.8  # photo pixels a view pixel, where the photo allows it


class Views(NamedTuple):
    """B views of S x S pixels."""

    clean: Tensor  #: (B,1,S,S), 0..255
    image: Tensor  #: (B,1,S,S), 0..255, as a camera gave them
    photo_from_view: Tensor  #: (B,3,3): pixels of the view to pixels of the photo
    inside: Tensor  #: (B,1,S,S): whether a pixel shows the photo
    within: Tensor  #: (B,1,S,S): 1.0 where it does and is not at the photo's end


def make_views(
    photos: Photos, rows: Tensor, size_px: int, generator: torch.Generator, *, hard: float
) -> tuple[Views, Views]:
    """Two views of each of the photos `rows` (B,), of one place of it.

    hard: 0 to 1, how far the views differ in all but heading. A third of the first views
    stand nearly as the photo does and half of the second views nearly as the first; the
    others have any heading, from hard = 0 on.
    """
    device = photos.pixels.device
    count = len(rows)
    side = photos.sizes[rows].to(torch.float32)
    centre = torch.stack([side[:, 1], side[:, 0]], dim=1) / 2 - 0.5
    # Photo pixels a view pixel: from the whole photo in view to its own pixels.
    widest = side.min(dim=1).values / size_px * 1.05
    narrowest = torch.minimum(torch.full_like(widest, NARROWEST), 0.6 * widest)
    base = narrowest * (widest / narrowest) ** torch.sqrt(_rand((count,), generator))
    room = (side.flip(1) - 0.75 * size_px * base[:, None]).clamp(min=0) / 2
    place = centre + (2 * _rand((count, 2), generator) - 1) * room
    heading = _turns(count, 1 / 3, generator)
    views, seen = [], []
    for _ in range(2):
        shape = (count,)
        scale = base * torch.exp((2 * _rand(shape, generator) - 1) * (0.1 + 0.4 * hard))
        shift = (2 * _rand((count, 2), generator) - 1) * (0.25 * hard * size_px * base[:, None])
        tilt = (2 * _rand((count, 2), generator) - 1) * (0.15 + 0.6 * hard) / size_px
        squeeze = torch.exp((2 * _rand(shape, generator) - 1) * (0.05 + 0.35 * hard))
        along = math.pi * _rand(shape, generator)
        matrix = _photo_from_view(size_px, heading, scale, place + shift, tilt, squeeze, along)
        views.append(matrix.to(device))
        seen.append(warp(photos, rows, views[-1], size_px))
        heading = heading + _turns(count, 1 / 2, generator)
    made = []
    for (clean, inside, within), matrix in zip(seen, views, strict=True):
        fill = _fills(count, generator).to(device)[:, None, None, None]
        filled = torch.where(inside | (fill < 0), clean, fill)
        image = photograph(filled, generator, hard)
        made.append(Views(clean, image, matrix, inside, within))
    return made[0], made[1]


def _turns(count: int, share: float, generator: torch.Generator) -> Tensor:
    """(B,) headings: this share of them within some 20 degrees, the others any."""
    near = 0.35 * torch.randn((count,), generator=generator)
    return torch.where(
        _rand((count,), generator) < share, near, 2 * math.pi * _rand((count,), generator)
    )


def _fills(count: int, generator: torch.Generator) -> Tensor:
    """(B,) greys beyond the photo's end: black, as undistorted photos have, or any; a
    third is negative, for the photo's mean.
    """
    draw, grey = _rand((count,), generator), 255 * _rand((count,), generator)
    return torch.where(draw < 1 / 3, -1.0, torch.where(draw < 2 / 3, 0.0, grey))


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Views (B,1,S,S) in 0..255, their mean grey beyond the photo; what is inside, and what
    is inside by more than EDGE_PX of the view.
    """
    device = photos.pixels.device
    grid = pixel_grid(size_px, device)
    all_xy = apply(photo_from_view, grid[None].expand(len(rows), -1, -1))
    shrinks = torch.linalg.det(photo_from_view[:, :2, :2]).abs().clamp(min=1e-6).sqrt().tolist()
    corners = [0, size_px - 1, size_px * (size_px - 1), size_px * size_px - 1]
    images, insides, withins = [], [], []
    for xy, row, shrink in zip(all_xy, rows.tolist(), shrinks, strict=True):
        height, width = photos.sizes[row].tolist()
        level = min(max(round(math.log2(shrink)), 0), LEVELS - 1)
        photo = photos.image(row, level)
        at_level = (xy + 0.5) / 2**level - 0.5
        # Only what the view shows is turned into floats.
        x0, y0 = (max(math.floor(v), 0) for v in at_level[corners].amin(0).tolist())
        x1, y1 = (math.ceil(v) + 2 for v in at_level[corners].amax(0).tolist())
        source = photo[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].to(torch.float32)
        extent = torch.tensor([source.shape[1], source.shape[0]], device=device)
        normal = (2 * (at_level - torch.tensor([x0, y0], device=device)) + 1) / extent - 1
        seen = F.grid_sample(
            source[None, None],
            normal.view(1, size_px, size_px, 2),
            align_corners=False,
            padding_mode="border",
        )
        last = torch.tensor([width - 1, height - 1], device=device)
        margin = torch.minimum(xy, last - xy).amin(1).view(1, 1, size_px, size_px)
        mask = margin >= 0
        images.append(torch.where(mask, seen, (seen * mask).sum() / mask.sum()))
        insides.append(mask)
        withins.append((margin > EDGE_PX * shrink).to(torch.float32))
    return torch.cat(images), torch.cat(insides), torch.cat(withins)


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


def photograph(clean: Tensor, generator: torch.Generator, hard: float) -> Tensor:
    """What light, lens, sensor and coding make of clean views (B,1,S,S); S is of eights."""
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
    image = (torch.round(image * levels) / levels).clamp(0, 1) * 255.0
    coarse = 40.0 * hard * draw(1, 1, 1) ** 2
    return torch.where(draw(1, 1, 1) < 0.4, _coded(image, coarse), image)


def _coded(image: Tensor, coarse: Tensor) -> Tensor:
    """As JPEG keeps it: 8x8 blocks of cosines, finer ones in coarser steps.

    coarse (B,1,1,1): grey levels of a step at the middle of the frequencies.
    """
    k = torch.arange(8, device=image.device, dtype=image.dtype)
    cosines = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * 0.5
    cosines[0] *= math.sqrt(0.5)
    blocks = torch.einsum("uy,vx,bnymx->bnmuv", cosines, cosines, _blocks(image))
    step = 1.0 + coarse[..., None] * (k[:, None] + k[None]) / 7
    kept = torch.round(blocks / step) * step
    back = torch.einsum("uy,vx,bnmuv->bnymx", cosines, cosines, kept)
    return back.reshape(image.shape)


def _blocks(image: Tensor) -> Tensor:
    """(B,S/8,8,S/8,8) of (B,1,S,S)."""
    count, _, size, _ = image.shape
    return image.view(count, size // 8, 8, size // 8, 8)


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
