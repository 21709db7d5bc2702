"""A world of textured planar quads, seen from their front side.

World axes: x east, y north, z up, metres; gravity is (0, 0, -1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from edge_reloc.arrays import F32, F64, U8
from edge_reloc.errors import ConfigError

Image = F32  # (H,W,3) BGR in 0..1
# A texture maker: (height_px, width_px) -> (H,W,3) float32 BGR in 0..1
TextureMaker = Callable[[int, int], Image]

SLAB_M = 0.06  # thickness of the slab on a column
GRAVITY = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What decides a world."""

    seed: int = 7
    texel_m: float = 0.004  #: size of a texel, 0.001 to 0.1; 4 mm is a pixel at 2 m
    shadow_m: float = 0.04  #: spacing of the shadow rays; 0 leaves shadows out
    altered: float = 0.0  #: share of the surfaces, 0 to 1, that look otherwise than at first

    def __post_init__(self) -> None:
        if not 0.001 <= self.texel_m <= 0.1:
            raise ConfigError(f"world: texel_m is {self.texel_m}, expected 0.001 to 0.1 metres")
        if self.shadow_m < 0:
            raise ConfigError(f"world: shadow_m is {self.shadow_m}, expected 0 or more metres")
        if not 0 <= self.altered <= 1:
            raise ConfigError(f"world: altered is {self.altered}, expected a share of 0 to 1")


@dataclass(kw_only=True)
class Quad:
    """A rectangle: corner + u * edge_u + v * edge_v for u, v in 0..1.

    Seen from the front, `corner` is top left, edge_u points right and edge_v down, so the
    texture stands upright; the back is invisible.
    """

    corner: F64  #: (3,), metres
    edge_u: F64  #: (3,), metres
    edge_v: F64  #: (3,), metres
    texture: U8  #: (H,W,3) BGR

    @property
    def normal(self) -> F64:
        """Unit vector (3,) towards the side it is seen from."""
        n = np.cross(self.edge_v, self.edge_u)
        return np.asarray(n / np.linalg.norm(n))

    @property
    def corners(self) -> F64:
        """The four corners (4,3) in order around the rectangle."""
        c, u, v = self.corner, self.edge_u, self.edge_v
        return np.stack([c, c + u, c + u + v, c + v])

    @cached_property
    def mips(self) -> list[U8]:
        """The texture at full, half, quarter ... size, down to about 2 px."""
        levels = [self.texture]
        while min(levels[-1].shape[:2]) > 2:
            height, width = levels[-1].shape[:2]
            size = ((width + 1) // 2, (height + 1) // 2)
            levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
        return levels


@dataclass(kw_only=True)
class World:
    """Quads under a sky."""

    quads: list[Quad] = field(default_factory=list)
    #: (h,w,3) BGR: azimuth across, elevation 90 to 0 degrees down
    sky: U8 = field(default_factory=lambda: np.full((2, 4, 3), 220, np.uint8))


def make_quad(
    corner: F64,
    edge_u: F64,
    edge_v: F64,
    texture: TextureMaker,
    texel_m: float,
) -> Quad:
    """A quad whose texture has square texels of about `texel_m`."""
    width = max(2, round(float(np.linalg.norm(edge_u)) / texel_m))
    height = max(2, round(float(np.linalg.norm(edge_v)) / texel_m))
    image = texture(height, width)
    return Quad(
        corner=np.asarray(corner, np.float64),
        edge_u=np.asarray(edge_u, np.float64),
        edge_v=np.asarray(edge_v, np.float64),
        texture=np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8),
    )


def make_prism(
    centre: tuple[float, float, float],
    size: tuple[float, float, float],
    yaw_rad: float,
    side: TextureMaker,
    top: TextureMaker | None,
    texel_m: float,
    *,
    sides: int = 4,
    bottom: bool = False,
) -> list[Quad]:
    """An upright box (sides = 4) or a column of `sides` faces.

    centre: of the foot, world. size: width, depth, height in metres (a column
    uses the width as its diameter). Faces are rectangles, so the top of a
    column is a square slab that covers it, and only a box has a bottom.
    """
    width, depth, height = size
    x, y, z = centre
    if sides == 4:
        ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, depth / 2]
    else:
        angle = np.arange(sides) * 2 * np.pi / sides
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * width / 2
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[cos, sin], [-sin, cos]])
    ring = ring @ turn + [x, y]
    down = np.array([0.0, 0.0, -height])
    quads = []
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        corner = np.array([a[0], a[1], z + height])
        quads.append(make_quad(corner, np.array([*(b - a), 0.0]), down, side, texel_m))
    if sides != 4:
        if top is not None:
            lid = ((x, y, z + height), (width, width, SLAB_M), yaw_rad)
            quads += make_prism(*lid, side, top, texel_m, bottom=True)
        return quads
    along, back = np.array([*(ring[1] - ring[0]), 0.0]), np.array([*(ring[0] - ring[3]), 0.0])
    if top is not None:
        corner = np.array([ring[3][0], ring[3][1], z + height])
        quads.append(make_quad(corner, along, back, top, texel_m))
    if bottom:
        corner = np.array([ring[0][0], ring[0][1], z])
        quads.append(make_quad(corner, along, -back, side, texel_m))
    return quads
