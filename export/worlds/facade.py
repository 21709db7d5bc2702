"""A façade: one painted wall with windows, doors, posters and paint.

Positions on the wall: x from its left end, z above the ground, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator

from .markings import graffiti, ink, poster, write_word
from .textures import Colour, blend, bricks, noise, planks, plaster, stone, vary
from .world import Image

PAINTS: tuple[Colour, ...] = ((0.75, 0.78, 0.8), (0.25, 0.4, 0.2), (0.2, 0.25, 0.5))


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A window or a door."""

    kind: str  #: "window" or "door"
    x_m: float  #: of its left end on the wall
    z_m: float  #: of its foot on the wall
    width_m: float
    height_m: float


@dataclass(kw_only=True)
class Facade:
    """What is on a wall; `paint` is the texture maker of its quad."""

    rng: Generator
    texel_m: float
    width_m: float
    height_m: float
    brick: bool
    colour: Colour
    openings: list[Opening] = field(default_factory=list)

    def paint(self, height: int, width: int) -> Image:
        """The wall as (H,W,3), ground at the bottom."""
        rng, texel = self.rng, self.texel_m
        material = bricks if self.brick else plaster
        image = material(rng, height, width, texel, self.colour)
        base = round(0.45 / texel)
        image[-base:] = stone(rng, base, width, texel, vary(rng, (0.45, 0.47, 0.5), 0.1))
        z = (height - 1 - np.arange(height, dtype=np.float32)) * texel
        dirt = np.clip(0.5 * np.exp(-z / 0.5), 0, 1)[:, None]
        dirt = dirt * np.clip(1 + 0.8 * noise(rng, height, width, 0.8 / texel, 0.05 / texel), 0, 2)
        blend(image, (0.2, 0.24, 0.27), np.clip(dirt, 0, 0.8))
        self._stick_posters(image)
        low = image[max(0, height - round(2.0 / texel)) : height - round(0.5 / texel)]
        graffiti(rng, low, texel, int(self.width_m * 1.2))
        for opening in self.openings:
            self._paint_opening(image, opening)
        return image

    def _area(self, image: Image, x_m: float, z_m: float, width_m: float, height_m: float) -> Image:
        """View of the image on a rectangle of the wall, cut at its borders."""
        rows = len(image)
        top, left = rows - round((z_m + height_m) / self.texel_m), round(x_m / self.texel_m)
        bottom = top + round(height_m / self.texel_m)
        right = left + round(width_m / self.texel_m)
        return image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]

    def _stick_posters(self, image: Image) -> None:
        for _ in range(int(self.width_m * 1.5)):
            wide = self.rng.uniform(0.3, 0.7)
            tall = wide * self.rng.uniform(0.8, 1.5)
            x, z = self.rng.uniform(0, self.width_m - wide), self.rng.uniform(0.6, 1.7)
            if self.rng.random() < 0.35:
                z = self.rng.uniform(2.2, self.height_m - 1.5)
            area = self._area(image, x, z, wide, tall)
            if min(area.shape[:2]) > 4:
                area[:] = poster(self.rng, *area.shape[:2])

    def _paint_opening(self, image: Image, opening: Opening) -> None:
        rng, o = self.rng, opening
        frame = 0.1
        around = self._area(image, o.x_m - 0.14, o.z_m - 0.1, o.width_m + 0.28, o.height_m + 0.26)
        if min(around.shape[:2]) < 4:
            return
        tall, wide = around.shape[:2]
        around[:] = stone(rng, tall, wide, self.texel_m, vary(rng, (0.6, 0.64, 0.68), 0.1))
        streaks = self._area(image, o.x_m, o.z_m - 0.9, o.width_m, 0.8)
        if o.z_m > 1.2 and min(streaks.shape[:2]) > 4:
            tall, wide = streaks.shape[:2]
            run = noise(rng, 4, wide, 0.12 / self.texel_m, 0.02 / self.texel_m)[:1]
            fade = np.linspace(0.6, 0, tall, dtype=np.float32)[:, None]
            blend(streaks, (0.2, 0.22, 0.22), np.clip(run, 0, 1) * fade)
        paint = vary(rng, PAINTS[rng.integers(len(PAINTS))], 0.2)
        area = self._area(image, o.x_m, o.z_m, o.width_m, o.height_m)
        tall, wide = area.shape[:2]
        area[:] = planks(rng, tall, wide, self.texel_m, paint)
        if o.kind == "door":
            self._dress_door(area)
            return
        inner = self._area(image, o.x_m + frame, o.z_m + frame,
                           o.width_m - 2 * frame, o.height_m - 2 * frame)  # fmt: skip
        if min(inner.shape[:2]) > 4:
            self._glaze(inner, paint)

    def _dress_door(self, area: Image) -> None:
        rng, (tall, wide) = self.rng, area.shape[:2]
        for top in (0.08, 0.55):
            a, b = (int(0.15 * wide), int(top * tall)), (int(0.85 * wide), int((top + 0.36) * tall))
            cv2.rectangle(area, a, b, (0.08, 0.09, 0.1), max(1, wide // 60))
        cv2.circle(
            area, (int(0.9 * wide), int(0.52 * tall)), max(1, wide // 28), (0.4, 0.7, 0.8), -1
        )
        letter = 0.09 * wide
        write_word(rng, area, 0.22 * wide, 0.2 * tall, letter, ink(rng), int(rng.integers(4, 8)))
        note = area[int(0.3 * tall) : int(0.46 * tall), int(0.3 * wide) : int(0.7 * wide)]
        note[:] = poster(rng, *note.shape[:2])

    def _glaze(self, inner: Image, paint: Colour) -> None:
        rng, (tall, wide) = self.rng, inner.shape[:2]
        depth = noise(rng, tall, wide, tall, tall / 10)
        inner[:] = np.array([0.28, 0.24, 0.2], np.float32) * (1 + 0.5 * depth[..., None])
        np.clip(inner, 0.04, 0.8, out=inner)
        curtain = np.arange(wide, dtype=np.float32) / max(wide, 1)
        reach = rng.uniform(0.12, 0.35)
        cover = np.clip((np.abs(curtain - 0.5) - 0.5 + reach) * 30, 0, 1) * np.ones((tall, 1))
        folds = 0.75 + 0.2 * np.sin(curtain * rng.uniform(40, 80))[:, None]
        blend(
            inner,
            folds * np.array(ink(rng), np.float32) * 0.8 + 0.15,
            cover.astype(np.float32) * 0.85,
        )
        for _ in range(int(rng.integers(3, 8))):
            at = (int(rng.integers(wide)), int(tall * rng.uniform(0.6, 1)))
            cv2.circle(
                inner, at, max(2, int(wide * rng.uniform(0.03, 0.1))), ink(rng), -1, cv2.LINE_AA
            )
        bar = max(1, round(0.035 / self.texel_m))
        for part in np.linspace(0, 1, int(rng.integers(2, 4)) + 1)[1:-1]:
            cv2.line(inner, (int(part * wide), 0), (int(part * wide), tall), paint, bar)
        for part in np.linspace(0, 1, int(rng.integers(2, 4)) + 1)[1:-1]:
            cv2.line(inner, (0, int(part * tall)), (wide, int(part * tall)), paint, bar)
