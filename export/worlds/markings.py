"""What people put on walls and floors: posters, letters, paint, leaves.

Letters are strokes on a 3 x 5 grid of a random script of our own, so that no
font is needed and every sign differs.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from .textures import Colour, blend, flat, noise, plaster, vary
from .world import Image

PAPERS: tuple[Colour, ...] = ((0.8, 0.86, 0.9), (0.62, 0.8, 0.9), (0.85, 0.75, 0.62))
INKS: tuple[Colour, ...] = (
    (0.12, 0.12, 0.14),
    (0.2, 0.2, 0.75),
    (0.65, 0.35, 0.12),
    (0.2, 0.5, 0.2),
    (0.15, 0.6, 0.9),
    (0.9, 0.9, 0.88),
    (0.45, 0.15, 0.5),
    (0.2, 0.38, 0.85),
)


def ink(rng: Generator) -> Colour:
    """A strong colour."""
    return vary(rng, INKS[rng.integers(len(INKS))], 0.12)


def write_word(
    rng: Generator, image: Image, x: float, y: float, letter_px: float, colour: Colour, count: int
) -> None:
    """Draw `count` letters of height letter_px with top left (x, y), in place."""
    thick = max(1, round(letter_px * 0.14))
    for i in range(count):
        left = x + i * letter_px * 0.75
        for _ in range(int(rng.integers(2, 4))):
            nodes = rng.integers(0, [3, 5], (int(rng.integers(2, 5)), 2))
            path = nodes * letter_px * [0.25, 0.25] + [left, y]
            points = np.round(path * 8).astype(np.int32)
            cv2.polylines(image, [points], False, colour, thick, cv2.LINE_AA, shift=3)


def poster(rng: Generator, height: int, width: int) -> Image:
    """Paper with shapes, a headline and lines of small print."""
    image = flat(height, width, vary(rng, PAPERS[rng.integers(len(PAPERS))], 0.1))
    side = min(height, width)
    for _ in range(int(rng.integers(6, 12))):
        at = rng.random(2) * [width, height * 0.8]
        radius = side * rng.uniform(0.05, 0.3)
        corners = int(rng.choice([3, 4, 5, 24]))
        angle = rng.uniform(0, 6.3) + np.arange(corners) * 2 * np.pi / corners
        ring = at + radius * np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.5, 1.2, 2)
        cv2.fillPoly(image, [np.round(ring * 8).astype(np.int32)], ink(rng), cv2.LINE_AA, shift=3)
    line = side * rng.uniform(0.12, 0.2)
    write_word(rng, image, 0.07 * width, rng.uniform(0.05, 0.5) * height, line, ink(rng),
               int(0.86 * width / (0.75 * line)))  # fmt: skip
    small = max(side * 0.05, 2.0)
    for row in range(int(rng.integers(2, 5))):
        y = height * 0.78 + row * small * 1.35
        if y + small < height:
            write_word(rng, image, 0.08 * width, y, small, (0.12, 0.12, 0.13),
                       int(rng.uniform(0.5, 0.84) * width / (0.75 * small)))  # fmt: skip
    image *= 1 + 0.06 * noise(rng, height, width, side / 2, side / 12)[..., None]
    torn = noise(rng, height, width, side / 4, side / 40)
    across, down = np.arange(width), np.arange(height)[:, None]
    edge = np.minimum(across, width - 1 - across)
    edge = np.minimum(edge, np.minimum(down, height - 1 - down)) / side
    blend(image, plaster(rng, height, width, 0.01, (0.7, 0.72, 0.74)),
          np.clip((torn - 1.0 - 12 * edge) * 8, 0, 1).astype(np.float32))  # fmt: skip
    return image


def graffiti(rng: Generator, image: Image, texel_m: float, count: int) -> None:
    """Sprayed curves and words on the whole image, in place."""
    height, width = image.shape[:2]
    for _ in range(count):
        colour, start = ink(rng), rng.random(2) * [width, height]
        if rng.random() < 0.4:
            letter = rng.uniform(0.12, 0.32) / texel_m
            x, y = start
            write_word(rng, image, x, y, letter, colour, int(rng.integers(3, 8)))
            continue
        turn = np.cumsum(rng.normal(0, 0.5, 40)) + rng.uniform(0, 6.3)
        step = rng.uniform(0.02, 0.06) / texel_m
        path = start + step * np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), axis=0)
        thick = max(1, round(rng.uniform(0.012, 0.04) / texel_m))
        points = np.round(path * 8).astype(np.int32)
        cv2.polylines(image, [points], False, colour, thick, cv2.LINE_AA, shift=3)


def litter(rng: Generator, image: Image, texel_m: float, per_m2: float) -> None:
    """Fallen leaves, pebbles, spilt paint on the ground, in place."""
    height, width = image.shape[:2]
    for _ in range(int(per_m2 * height * width * texel_m**2)):
        at = (int(rng.integers(width)), int(rng.integers(height)))
        size = rng.uniform(0.015, 0.05) / texel_m
        tone = ((0.1, 0.35, 0.6), (0.12, 0.45, 0.5), (0.1, 0.2, 0.4), (0.75, 0.78, 0.8))
        colour = vary(rng, tone[rng.integers(4)], 0.25)
        axes = (max(1, round(size)), max(1, round(size * rng.uniform(0.4, 0.9))))
        cv2.ellipse(image, at, axes, float(rng.uniform(0, 360)), 0, 360, colour, -1, cv2.LINE_AA)
