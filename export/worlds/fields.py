"""Fields seen from above: crop rows, paths, trees and barns, flat or on hills.

Crop rows repeat a tile of a few metres, as real ones do to a matcher; what is
nobody's twin (soil, paths, trees, barns) is painted over them. The picture is
taken as an orthophoto on a height field, so a wood or a barn has no walls.
World axes: x east, y north, z up, metres; the middle of the ground is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from edge_reloc.arrays import F32, F64, U8
from edge_reloc.errors import ConfigError
from edge_reloc.geometry.camera import Camera

from .textures import blend, flat, foliage, noise, planks, vary
from .world import Image

CELL_M = 0.25  # of the height field: a remap's 1/32 of a cell is then 0.02 px at 40 m
HILL_PER_RELIEF = 5.0  # width of a hill per height: slopes stay below about 0.5
ITERATIONS = 12  # each shrinks the error by slope times tan(angle from the vertical)
TILE_M, ROW_M = (6.0, 3.0), 0.75  # the tile that repeats; distance of crop rows
CROPS = (
    (0.16, 0.42, 0.30), (0.32, 0.58, 0.66), (0.20, 0.36, 0.24), (0.24, 0.50, 0.46),
)  # fmt: skip
SOIL = (0.26, 0.36, 0.46)
PATH_M, TREE_M, BARN_M = 3.0, (1.5, 4.0), (9.0, 16.0)
HA_PER_PATH, HA_PER_BARN = 2.0, 2.0


@dataclass(frozen=True, kw_only=True)
class FieldsConfig:
    """What decides the ground."""

    seed: int = 7
    size_m: tuple[float, float] = (200.0, 200.0)  #: east-west, north-south
    texel_m: float = 0.05  #: 0.01 to 1; about a pixel of the photos
    relief_m: float = 0.0  #: highest above lowest ground; 0 is a plane
    parcel_m: float = 50.0  #: size of a field with the same crop
    variety: float = 0.5  #: 0 to 1: how far one square metre of a crop differs from the next
    trees_per_ha: float = 20.0  #: 0 leaves out paths and barns as well

    def __post_init__(self) -> None:
        if not 0.01 <= self.texel_m <= 1.0:
            raise ConfigError(f"fields: texel_m is {self.texel_m}, expected 0.01 to 1 metres")
        if not 0 <= self.variety <= 1:
            raise ConfigError(f"fields: variety is {self.variety}, expected 0 to 1")
        for name in ("relief_m", "trees_per_ha"):
            if getattr(self, name) < 0:
                raise ConfigError(f"fields: {name} is {getattr(self, name)}, expected 0 or more")
        if min(*self.size_m, self.parcel_m) < 10:
            raise ConfigError(
                f"fields: size_m is {self.size_m}, parcel_m {self.parcel_m}; "
                f"expected 10 metres or more"
            )


@dataclass(frozen=True, kw_only=True)
class Fields:
    """An orthophoto on a height field; north is up in both."""

    texture: U8  #: (H,W,3) BGR
    texel_m: float
    height_m: F32  #: (h,w), the ground's z

    def height_at(self, x_m: F32, y_m: F32) -> F32:
        """The ground's z (H,W) at places (H,W); beyond the rim that of the rim."""
        cells = _cells(self.height_m.shape, CELL_M, x_m, y_m)
        z = cv2.remap(self.height_m, *cells, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(z, np.float32)

    def picture(self, camera: Camera, cam_from_world: F64) -> U8:
        """What a camera (cam_from_world (4,4)) above the ground sees, (H,W,3) BGR.

        Every ray has to look down. Beyond the rim the ground is mirrored.
        """
        ground = self.see(camera, cam_from_world)
        cells = _cells(self.texture.shape, self.texel_m, ground[..., 0], ground[..., 1])
        image = cv2.remap(self.texture, *cells, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(image, np.uint8)

    def see(self, camera: Camera, cam_from_world: F64) -> F32:
        """The points (H,W,3) of the ground that the pixels see, metres.

        By fixed-point iteration: walk each ray to the height of the ground
        below the point where it stood.
        """
        rotation = cam_from_world[:3, :3].astype(np.float32)
        centre = -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
        rays = _rays(camera) @ rotation  # world_from_cam, from the right
        if rays[..., 2].max() >= -1e-3:
            raise ConfigError("fields: the camera sees the horizon; expected one that looks down")
        across, along = rays[..., 0] / -rays[..., 2], rays[..., 1] / -rays[..., 2]
        z = np.full(across.shape, self.height_m.mean(), np.float32)
        for _ in range(ITERATIONS if np.ptp(self.height_m) > 0 else 1):
            drop = np.float32(centre[2]) - z
            x, y = np.float32(centre[0]) + drop * across, np.float32(centre[1]) + drop * along
            z = self.height_at(x, y)
        return np.stack([x, y, z], axis=-1)


def make_fields(config: FieldsConfig) -> Fields:
    """The ground; the same config gives the same bytes."""
    rng = np.random.default_rng(config.seed)
    width, height = (round(side / config.texel_m) for side in config.size_m)
    texture = np.empty((height, width, 3), np.uint8)
    for rows in _cuts(rng, height, config.parcel_m / config.texel_m):
        for cols in _cuts(rng, width, config.parcel_m / config.texel_m):
            field = _field(rng, config, rows.stop - rows.start, cols.stop - cols.start)
            texture[rows, cols] = np.clip(field * 255 + 0.5, 0, 255)
    _paint_things(rng, config, texture)
    return Fields(texture=texture, texel_m=config.texel_m, height_m=_relief(rng, config))


def _relief(rng: Generator, config: FieldsConfig) -> F32:
    """Height field (h,w) from 0 to relief_m."""
    width, height = (round(side / CELL_M) for side in config.size_m)
    if config.relief_m == 0:
        return np.zeros((height, width), np.float32)
    hill = HILL_PER_RELIEF * config.relief_m / CELL_M
    hills = noise(rng, height, width, hill, hill / 2, 0.35)
    hills = cv2.GaussianBlur(hills, (0, 0), hill / 8)
    return np.asarray((hills - hills.min()) / np.ptp(hills) * config.relief_m, np.float32)


def _cuts(rng: Generator, length: int, step: float) -> list[slice]:
    """A length in pieces of about `step`, none below half of it."""
    pieces = max(1, round(length / step))
    inner = (np.arange(1, pieces) + rng.uniform(-0.25, 0.25, pieces - 1)) * length / pieces
    ends = [0, *(round(float(end)) for end in inner), length]
    return [slice(a, b) for a, b in pairwise(ends)]


def _field(rng: Generator, config: FieldsConfig, height: int, width: int) -> Image:
    """One crop: a repeated tile, turned along the rows, and what varies over it."""
    texel = config.texel_m
    tile = _tile(rng, texel)
    turn = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    u = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
    v = np.float32(np.cos(turn)) * y - np.float32(np.sin(turn)) * x
    high, wide = tile.shape[:2]
    field = cv2.remap(tile, u % wide, v % high, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    stain = noise(rng, height, width, 12.0 / texel, 0.15 / texel, 0.8)
    field *= 1 + np.float32(0.25 * config.variety) * stain[..., None]
    return np.asarray(field, np.float32)


def _tile(rng: Generator, texel_m: float) -> Image:
    """Rows of plants on soil that continue at the tile's edges."""
    wide, high = (round(side / texel_m) for side in TILE_M)

    def blots(size_m: float) -> F32:
        pad = int(4 * size_m / texel_m) + 1
        grain = np.pad(rng.standard_normal((high, wide)).astype(np.float32), pad, mode="wrap")
        smooth = cv2.GaussianBlur(grain, (0, 0), max(size_m / texel_m, 0.5))
        inner = smooth[pad : pad + high, pad : pad + wide]
        return np.asarray(inner / inner.std())

    across = (np.arange(high, dtype=np.float32) + 0.5) * texel_m / ROW_M
    row = 0.5 - 0.5 * np.cos(2 * np.pi * across)[:, None]
    tile = flat(high, wide, vary(rng, SOIL, 0.1))
    crop = vary(rng, CROPS[rng.integers(len(CROPS))], 0.12)
    blend(tile, crop, np.clip(1.5 * row - 0.3 + 0.35 * blots(0.12), 0, 1).astype(np.float32))
    tile *= 1 + 0.12 * blots(0.06)[..., None] + 0.08 * blots(0.3)[..., None]
    return tile


def _paint_things(rng: Generator, config: FieldsConfig, texture: U8) -> None:
    """Paths, barns and trees, in place: the only things without a twin."""
    if config.trees_per_ha == 0:
        return
    texel, hectares = config.texel_m, config.size_m[0] * config.size_m[1] / 1e4
    height, width = texture.shape[:2]
    for index in range(max(1, round(hectares / HA_PER_PATH))):
        steps = np.linspace(0, 1, 100)
        aside = noise(rng, 1, 100, 40, 10, 0.4)[0] * 0.05 + rng.uniform(0.1, 0.9)
        path = np.stack([steps, aside] if index % 2 else [aside, steps], axis=1) * [width, height]
        colour = 255 * np.array(vary(rng, (0.52, 0.6, 0.66), 0.1))
        wide = max(1, round(PATH_M * rng.uniform(0.6, 1.2) / texel))
        cv2.polylines(texture, [path.astype(np.int32)], False, colour, wide, cv2.LINE_AA)
    for _ in range(max(1, round(hectares / HA_PER_BARN))):
        _stamp(rng, texture, _barn(rng, texel))
    for _ in range(round(hectares * config.trees_per_ha)):
        _stamp(rng, texture, _tree(rng, texel))


def _stamp(rng: Generator, texture: U8, stamp: F32) -> None:
    """Paint (h,w,4), BGR and alpha, somewhere wholly on the ground."""
    high, wide = stamp.shape[:2]
    room = np.array(texture.shape[:2]) - [high, wide]
    if room.min() <= 0:
        return
    top, left = (int(rng.integers(r)) for r in room)
    part = texture[top : top + high, left : left + wide]
    below = part.astype(np.float32)
    blend(below, 255 * stamp[..., :3], stamp[..., 3])
    part[:] = np.clip(below + 0.5, 0, 255)


def _tree(rng: Generator, texel_m: float) -> F32:
    """A crown and its shadow, (h,w,4)."""
    radius = rng.uniform(*TREE_M) / texel_m
    side = int(3.2 * radius) + 3
    leaves = cv2.resize(foliage(rng, 96, 96, 0.01), (side, side), interpolation=cv2.INTER_AREA)
    leaves *= np.float32(1.3) * np.array(vary(rng, (1, 1, 1), 0.2), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32) - side / 2
    ragged = radius * (1 + 0.15 * noise(rng, side, side, radius / 2, 2.0))
    crown = np.clip(ragged - np.hypot(x + radius / 3, y + radius / 3), 0, 1)
    shadow = np.clip(ragged - np.hypot(x - radius / 3, y - radius / 3), 0, 1)
    return np.dstack([leaves * crown[..., None], np.maximum(crown, 0.55 * shadow)])


def _barn(rng: Generator, texel_m: float) -> F32:
    """A roof of two slopes, one in the shade, turned anyhow, (h,w,4)."""
    wide, high = (round(side * rng.uniform(0.8, 1.2) / texel_m) for side in BARN_M)
    roof = planks(rng, high, wide, 0.02, vary(rng, (0.24, 0.26, 0.5), 0.3))
    roof[:, wide // 2 :] *= 0.65
    side = int(np.hypot(wide, high)) + 3
    turn = cv2.getRotationMatrix2D((wide / 2, high / 2), rng.uniform(0, 180), 1.0)
    turn[:, 2] += [(side - wide) / 2, (side - high) / 2]
    whole = np.dstack([roof, np.ones((high, wide), np.float32)])
    return np.asarray(cv2.warpAffine(whole, turn, (side, side)), np.float32)


def _cells(shape: tuple[int, ...], cell_m: float, x_m: F32, y_m: F32) -> tuple[F32, F32]:
    """Columns and rows of places in a grid whose middle is (0, 0), row 0 in the north."""
    high, wide = shape[:2]
    cols = x_m / np.float32(cell_m) + np.float32(wide / 2 - 0.5)
    return cols, np.float32(high / 2 - 0.5) - y_m / np.float32(cell_m)


@lru_cache(maxsize=2)
def _rays(camera: Camera) -> F32:
    """Rays (H,W,3) of the pixels in camera axes, z = 1."""
    grid = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    xy = camera.rays_from_pixels(grid.reshape(-1, 2).astype(np.float64))
    rays = np.ones((camera.height, camera.width, 3), np.float32)
    rays[..., :2] = xy.reshape(camera.height, camera.width, 2)
    return rays
