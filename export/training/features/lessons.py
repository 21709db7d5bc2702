"""What teachers say of every photo, asked once and kept beside it.

A view is taught what was said of the photo that it shows, so that the target turns,
shrinks and bends as the view does, whatever the teacher would have said of the view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...identity import digest_of
from ...nets.waymark import STRIDE_PX
from ...progress import open_bar
from ..resumable import read_state, write_state
from .photos import LEVELS, Photos

FLOOR, CEILING = -12.0, 3.0  # of logits, beyond which it does not matter
HEADINGS = 8  # in which keypoints are asked for


class Lessons(NamedTuple):
    """Of N photos at all their levels."""

    heat: Tensor  #: float16 logits of a keypoint, one for each of the photos' pixels
    descriptors: Tensor  #: (C,D) float16 of unit length, one a cell of 8 x 8 pixels
    starts: Tensor  #: (N*LEVELS,) of a level's cells among them
    sizes: Tensor  #: (N*LEVELS,2) cells up and across

    def to(self, device: torch.device) -> Lessons:
        """The same there."""
        return Lessons(*(tensor.to(device) for tensor in self))


def teach(
    photos: Photos,
    keypoints: nn.Module,
    descriptors: nn.Module,
    device: torch.device,
    done: Callable[[], object],
    *,
    headings: int = HEADINGS,
) -> Lessons:
    """Ask `keypoints` (image -> logits (B,1,H,W)) in so many headings and at two scales, and
    `descriptors` (image -> (B,D,H/4,W/4)) of each photo as it lies; `done` is called after
    every photo.
    """
    heats: list[Tensor] = []
    cells: list[Tensor] = []
    sizes = []
    for index in range(len(photos)):
        levels = [
            photos.image(index, level).to(device).float()[None, None] for level in range(LEVELS)
        ]
        with torch.no_grad():
            heats += [heat.flatten() for heat in _heats(keypoints, levels, headings)]
            for image in levels:
                said = _described(descriptors, image)
                sizes.append(said.shape[1:])
                cells.append(said.flatten(1).t())
        done()
    counts = torch.tensor([height * width for height, width in sizes])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)[:-1]])
    return Lessons(torch.cat(heats), torch.cat(cells), starts, torch.tensor(sizes)).to(device)


def _heats(keypoints: nn.Module, levels: list[Tensor], headings: int) -> Iterator[Tensor]:
    """(H,W) float16 logits of each level: the mean of what is said of it in all headings,
    and of what is said of the next.
    """
    said = [_in_all_headings(keypoints, image, headings) for image in levels]
    for level, heat in enumerate(said):
        if level + 1 < len(said):
            larger = F.interpolate(said[level + 1], scale_factor=2, mode="bilinear")
            missing = [b - a for a, b in zip(larger.shape[2:], heat.shape[2:], strict=True)]
            heat = 0.5 * (heat + F.pad(larger, (0, missing[1], 0, missing[0]), mode="replicate"))
        yield torch.logit(heat, eps=1e-6).clamp(FLOOR, CEILING).squeeze((0, 1)).half()


def _in_all_headings(keypoints: nn.Module, image: Tensor, headings: int) -> Tensor:
    """Mean heat (1,1,H,W), 0 to 1, of an image in a square that has room for every heading."""
    height, width = image.shape[2:]
    side = math.ceil(math.hypot(height, width) / 32) * 32
    left, top = (side - width) // 2, (side - height) // 2
    around = (left, side - width - left, top, side - height - top)
    canvas = F.pad(image, around, mode="replicate")
    angle = torch.arange(headings, device=image.device) * (2 * math.pi / headings)
    there = _turned(canvas.expand(headings, -1, -1, -1), angle)
    back = _turned(torch.sigmoid(keypoints(there)[..., :side, :side].float()), -angle)
    return back.mean(dim=0, keepdim=True)[..., top : top + height, left : left + width]


def _turned(images: Tensor, angle: Tensor) -> Tensor:
    """Square images (B,1,S,S) turned by angles (B,) about their middle."""
    cos, sin, none = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    rows = [torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def _described(descriptors: nn.Module, image: Tensor) -> Tensor:
    """(D,h,w) float16 of unit length at 1/8, h and w rounded up."""
    height, width = (math.ceil(side / STRIDE_PX) for side in image.shape[2:])
    said = F.avg_pool2d(descriptors(image).float(), 2)[0, :, :height, :width]
    return F.normalize(said, dim=0).half()


def kept_lessons(
    path: Path,
    photos: Photos,
    keypoints: nn.Module,
    descriptors: nn.Module,
    device: torch.device,
    *,
    headings: int = HEADINGS,
) -> Lessons:
    """What these teachers say of these photos, asked once and kept in a file."""
    identity = digest_of(
        headings,
        photos.identity(),
        *(part for of in (keypoints, descriptors) for part in _parts(of)),
    )
    state = read_state(path, device)
    if state is not None and state["of"] == identity:
        return Lessons(*(state[name] for name in Lessons._fields))
    with open_bar(len(photos), "ask the teachers", "photo") as bar:
        teachers = keypoints.to(device), descriptors.to(device)
        lessons = teach(photos, *teachers, device, bar.update, headings=headings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_state(path, {"of": identity, **lessons._asdict()})
    return lessons


def _parts(teacher: nn.Module) -> tuple[str, dict[str, Tensor]]:
    return repr(teacher), {name: value.cpu() for name, value in teacher.state_dict().items()}
