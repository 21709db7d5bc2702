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

from ...nets.waymark import STRIDE_PX
from .lessons import Lessons
from .photos import LEVELS, Photos

EDGE_PX = 5  # of the photo inside a view: what is found there is the photo's end
SOFTEST_PX = 4.0  # standard deviation of the strongest blur
READ_NOISE = 0.04  # of white: the amplifier's standard deviation, at most
NARROWEST = 0.8  # photo pixels a view pixel, where the photo allows it


class Views(NamedTuple):
    """B views of S x S pixels, each of one photo."""

    image: Tensor  #: (B,1,S,S), 0..255, as a camera gave them
    clean: Tensor  #: (B,1,S,S), 0..255
    heat: Tensor  #: (B,1,S,S): the photo's keypoint logits
    described: Tensor  #: (B,D,S/8,S/8): the photo's descriptors
    rows: Tensor  #: (B,) of the photos
    photo_from_view: Tensor  #: (B,3,3): pixels of the view to pixels of the photo
    scale: Tensor  #: (B,): pixels of the photo a pixel of the view, in its middle
    inside: Tensor  #: (B,1,S,S): whether a pixel shows the photo
    within: Tensor  #: (B,1,S,S): 1.0 where it does and is not at the photo's end


def make_views(
    photos: Photos,
    lessons: Lessons,
    rows: Tensor,
    size_px: int,
    generator: torch.Generator,
    *,
    hard: Tensor,
) -> tuple[Views, Views]:
    """Two views of each of the photos `rows` (B,), of one place of it.

    hard (B,): 0 to 1, how far the views differ in all but heading. A third of the first views
    stand nearly as the photo does and half of the second views nearly as the first; the
    others have any heading, from hard = 0 on. All is drawn on the generator's device, which
    is the photos'.
    """
    count = len(rows)
    side = photos.levels(rows, torch.zeros_like(rows))[1].to(torch.float32)
    centre = side.flip(1) / 2 - 0.5
    # Photo pixels a view pixel: from the whole photo in view to its own pixels.
    widest = side.min(dim=1).values / size_px * 1.05
    narrowest = torch.minimum(torch.full_like(widest, NARROWEST), 0.6 * widest)
    base = narrowest * (widest / narrowest) ** torch.sqrt(_rand((count,), generator))
    room = (side.flip(1) - 0.75 * size_px * base[:, None]).clamp(min=0) / 2
    place = centre + (2 * _rand((count, 2), generator) - 1) * room
    heading = _turns(count, 1 / 3, generator)
    # How much larger the second view shows things, and what both do together.
    ratio = torch.exp((2 * _rand((count,), generator) - 1) * (0.2 + 1.2 * hard))
    made = []
    for zoom in (1.0, ratio):
        scale = base * zoom * torch.exp((2 * _rand((count,), generator) - 1) * (0.1 + 0.3 * hard))
        shift = (2 * _rand((count, 2), generator) - 1) * (0.25 * hard * size_px * base)[:, None]
        tilt = (2 * _rand((count, 2), generator) - 1) * (0.15 + 0.6 * hard)[:, None] / size_px
        squeeze = torch.exp((2 * _rand((count,), generator) - 1) * (0.05 + 0.35 * hard))
        along = math.pi * _rand((count,), generator)
        matrix = _photo_from_view(size_px, heading, scale, place + shift, tilt, squeeze, along)
        view = _seen(photos, lessons, rows, matrix, size_px)
        fill = _fills(count, generator)[:, None, None, None]
        filled = torch.where(view.inside | (fill < 0), view.clean, fill)
        made.append(view._replace(image=photograph(filled, generator, hard)))
        heading = heading + _turns(count, 1 / 2, generator)
    return made[0], made[1]


def _turns(count: int, share: float, generator: torch.Generator) -> Tensor:
    """(B,) headings: this share of them within some 20 degrees, the others any."""
    near = 0.35 * torch.randn((count,), generator=generator, device=generator.device)
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
    middle = _unmoved(angle)
    middle[:, 0, 2] = middle[:, 1, 2] = -(size_px - 1) / 2
    bend = _unmoved(angle)
    bend[:, 2, :2] = tilt
    along = _rotation(turn)
    stretch = _unmoved(angle)
    stretch[:, 0, 0], stretch[:, 1, 1] = squeeze, 1 / squeeze
    put = _unmoved(angle)
    put[:, 0, 0] = put[:, 1, 1] = scale
    put[:, :2, 2] = place
    return put @ _rotation(angle) @ along @ stretch @ along.transpose(1, 2) @ bend @ middle


def _unmoved(of: Tensor) -> Tensor:
    """(B,3,3) for as many as there are."""
    return torch.eye(3, device=of.device).repeat(len(of), 1, 1)


def _rotation(angle: Tensor) -> Tensor:
    matrix = _unmoved(angle)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle)
    matrix[:, 1, 0] = torch.sin(angle)
    matrix[:, 0, 1] = -matrix[:, 1, 0]
    return matrix


def _seen(
    photos: Photos, lessons: Lessons, rows: Tensor, photo_from_view: Tensor, size_px: int
) -> Views:
    """Views with the photo's mean grey beyond it, and what was said of what they show."""
    device, count = rows.device, len(rows)
    pixels = pixel_grid(size_px, device)
    xy = apply(photo_from_view, pixels[None].expand(count, -1, -1))
    (a, b), (c, d) = (row.unbind(1) for row in photo_from_view[:, :2, :2].unbind(1))
    scale = (a * d - b * c).abs().clamp(min=1e-6).sqrt()
    level = torch.log2(scale).round().clamp(0, LEVELS - 1).long()
    starts, sizes = photos.levels(rows, level)
    shrunk = 2.0 ** level[:, None, None]
    at = Spots.of((xy + 0.5) / shrunk - 0.5, starts, sizes)
    last = photos.levels(rows, torch.zeros_like(rows))[1].flip(1)[:, None] - 1
    margin = torch.minimum(xy, last - xy).amin(2).view(count, 1, size_px, size_px)
    inside = margin >= 0
    grey = at.read(photos.pixels).view(count, 1, size_px, size_px)
    shown = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (grey * inside).sum((1, 2, 3), keepdim=True) / shown
    clean = torch.where(inside, grey, mean)
    middles = pixel_grid(size_px // STRIDE_PX, device) * STRIDE_PX + (STRIDE_PX - 1) / 2
    cells = apply(photo_from_view, middles[None].expand(count, -1, -1))
    cells = ((cells + 0.5) / shrunk - 0.5 - (STRIDE_PX - 1) / 2) / STRIDE_PX
    row = rows * LEVELS + level
    described = Spots.of(cells, lessons.starts[row], lessons.sizes[row]).read(lessons.descriptors)
    side = size_px // STRIDE_PX
    return Views(
        image=clean,
        clean=clean,
        heat=at.read(lessons.heat).view(count, 1, size_px, size_px),
        described=described.transpose(1, 2).reshape(count, -1, side, side),
        rows=rows,
        photo_from_view=photo_from_view,
        scale=scale,
        inside=inside,
        within=(margin > EDGE_PX * scale[:, None, None, None]).to(torch.float32),
    )


class Spots(NamedTuple):
    """Places between four neighbours each, in pieces of a flat tensor."""

    places: Tensor  #: (4,B,N) in the flat tensor
    weights: Tensor  #: (4,B,N)

    @classmethod
    def of(cls, xy: Tensor, starts: Tensor, sizes: Tensor) -> Spots:
        """At pixels xy (B,N,2) of pieces that begin at starts (B,) and have so many rows and
        columns, sizes (B,2); beyond a piece its border goes on.
        """
        last = sizes.flip(1)[:, None] - 1
        at = torch.minimum(xy.clamp(min=0), last.to(xy.dtype))
        corner = at.long()
        across, down = (at - corner).unbind(2)
        x0, y0 = corner.unbind(2)
        x1, y1 = torch.minimum(corner + 1, last).unbind(2)
        row0 = starts[:, None] + y0 * sizes[:, 1:]
        row1 = starts[:, None] + y1 * sizes[:, 1:]
        index = torch.stack([row0 + x0, row0 + x1, row1 + x0, row1 + x1])
        left, top = 1 - across, 1 - down
        weight = torch.stack([top * left, top * across, down * left, down * across])
        return cls(index, weight)

    def read(self, flat: Tensor) -> Tensor:
        """(B,N) or (B,N,D), bilinear, of a tensor (P,) or (P,D)."""
        shape = (*self.weights.shape[1:], *(1,) * (flat.ndim - 1))
        total = torch.zeros((), device=flat.device)
        for places, weights in zip(self.places, self.weights, strict=True):
            total = total + flat[places].to(torch.float32) * weights.view(shape)
        return total


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


def inverse(matrix: Tensor) -> Tensor:
    """Of (B,3,3) that have one, by their minors: a solver would make the device wait."""
    a, b, c = matrix.unbind(1)
    minors = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=2
    )
    return minors / (a * minors[:, :, 0]).sum(1)[:, None, None]


def photograph(clean: Tensor, generator: torch.Generator, hard: Tensor) -> Tensor:
    """What light, lens, sensor and coding make of clean views (B,1,S,S), hard (B,) ones
    most; S is of eights.
    """
    count, _, size, _ = clean.shape
    hard = hard[:, None, None, None]

    def draw(*shape: int) -> Tensor:
        return _rand((count, *shape), generator)

    image = clean / 255.0
    # Light that falls unevenly, with a spot or a shadow.
    uneven = F.interpolate(draw(1, 4, 4), size=(size, size), mode="bicubic") - 0.5
    image = image * torch.exp(0.9 * hard * draw(1, 1, 1) * uneven)
    gamma = torch.exp((2 * draw(1, 1, 1) - 1) * (0.3 + 0.5 * hard))
    image = image.clamp(1e-4, 1.0) ** gamma
    night = torch.where(draw(1, 1, 1) < 0.25 * hard, 0.03 + 0.22 * draw(1, 1, 1), 1.0)
    gain = torch.exp((2 * draw(1, 1, 1) - 1.2) * (0.15 + 0.3 * hard))
    image = (image * gain).clamp(0, 1.2)
    # Motion and defocus: a line of samples of some length, and a soft lens.
    image = _smear(image, draw(1), draw(1), hard.flatten()[:, None])
    soft = draw(1, 1, 1)
    image = _blurred(image, SOFTEST_PX * hard * ((soft - 0.5) * 2).clamp(min=0) ** 2 + 0.01)
    photons = 0.01 + 0.05 * hard * draw(1, 1, 1) ** 2
    noise = torch.randn(image.shape, generator=generator, device=generator.device)
    image = image * night + noise * photons * torch.sqrt(image.clamp(min=0.01) * night)
    # The amplifier's noise, as strong in the dark parts, grown together by the camera's smoothing.
    dark = torch.randn(image.shape, generator=generator, device=generator.device)
    dark = torch.where(draw(1, 1, 1) < 0.5, dark, 1.5 * F.avg_pool2d(dark, 3, 1, 1))
    image = image + dark * READ_NOISE * hard * draw(1, 1, 1) ** 2 * night
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
    return back.reshape(image.shape).clamp(0, 255)


def _blocks(image: Tensor) -> Tensor:
    """(B,S/8,8,S/8,8) of (B,1,S,S)."""
    count, _, size, _ = image.shape
    return image.view(count, size // 8, 8, size // 8, 8)


def _smear(image: Tensor, length: Tensor, angle: Tensor, hard: Tensor) -> Tensor:
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


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Views (B,1,S,S) blurred each by its own sigma (B,1,1,1), in pixels."""
    count = len(image)
    radius = math.ceil(2.5 * SOFTEST_PX)
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma.view(count, 1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).view(count, 1, 1, -1)
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate").transpose(0, 1)
    rows = F.conv2d(padded, kernel, groups=count)
    return F.conv2d(rows, kernel.transpose(2, 3), groups=count).transpose(0, 1)


def _rand(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)
