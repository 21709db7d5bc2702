"""A place some time later: a share of its surfaces looks otherwise, some things stand elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from .markings import graffiti, ink, poster
from .textures import bricks, planks, plaster, stone, vary
from .world import Image, Quad

PATCH_M = 1.25  # walls and ground change in pieces of about this size, small things as a whole
SMALLEST_PX = 16  # of a poster's side
STREAM = 3  # of the seed: what alters a place draws nothing that made it


def repaint(quads: Sequence[Quad], share: float, seed: int, texel_m: float) -> None:
    """Give a share (0 to 1) of the area another texture, in place; before light is baked.

    The same seed gives the same pieces and the same paint.
    """
    rng = np.random.default_rng([seed, STREAM])
    pieces = [(quad, *piece) for quad in quads for piece in _pieces(quad)]
    area = np.array([_area(quad, rows, columns) for quad, rows, columns in pieces])
    left = share * float(area.sum())
    for index in rng.permutation(len(pieces)).tolist():
        if area[index] > left:
            continue
        quad, rows, columns = pieces[index]
        height, width = quad.texture[rows, columns].shape[:2]
        paint = _paint(rng, height, width, texel_m)
        quad.texture[rows, columns] = np.clip(paint * 255 + 0.5, 0, 255).astype(np.uint8)
        left -= float(area[index])


def pushed(x: float, y: float, by_m: float) -> tuple[float, float]:
    """Where a thing by a wall stands once it was pushed along that wall."""
    along_x = abs(y) > 4.0
    return (x - np.sign(x) * by_m, y) if along_x else (x, y - np.sign(y) * by_m)


def _pieces(quad: Quad) -> list[tuple[slice, slice]]:
    """Rows and columns of the texture, piece by piece."""
    sides = []
    for edge, texels in zip((quad.edge_v, quad.edge_u), quad.texture.shape, strict=False):
        count = max(1, round(float(np.linalg.norm(edge)) / PATCH_M))
        cuts = np.linspace(0, texels, count + 1).astype(int)
        sides.append([slice(a, b) for a, b in pairwise(cuts.tolist())])
    return [(rows, columns) for rows in sides[0] for columns in sides[1]]


def _area(quad: Quad, rows: slice, columns: slice) -> float:
    """Of a piece, square metres."""
    height, width = quad.texture.shape[:2]
    part: float = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return part * float(np.linalg.norm(np.cross(quad.edge_u, quad.edge_v)))


def _paint(rng: Generator, height: int, width: int, texel_m: float) -> Image:
    """A new surface, as rich as those of the courtyard."""
    if min(height, width) >= SMALLEST_PX and rng.random() < 0.4:
        return poster(rng, height, width)
    maker = (bricks, plaster, planks, stone)[rng.integers(4)]
    image = maker(rng, height, width, texel_m, vary(rng, ink(rng), 0.3))
    graffiti(rng, image, texel_m, 2)
    return image
