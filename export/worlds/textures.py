"""Procedural materials: (H,W,3) float32 BGR in 0..1, all from one generator.

Sizes in pixels come from `texel_m`, so that a brick is a brick at any density.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from edge_reloc.arrays import F32

from .world import Image

Plane = F32  # (H,W)
Colour = tuple[float, float, float]  # BGR in 0..1


def noise(
    rng: Generator, height: int, width: int, coarse_px: float, fine_px: float, gain: float = 0.7
) -> Plane:
    """Smooth noise over octaves from coarse_px to fine_px, about unit spread.

    gain: amplitude of an octave relative to the one of twice its size.
    """
    out = np.zeros((height, width), np.float32)
    cell, amplitude, power = max(coarse_px, 1.0), 1.0, 0.0
    while True:
        rows, cols = int(height / cell) + 4, int(width / cell) + 4
        grid = rng.standard_normal((rows, cols)).astype(np.float32)
        size = (max(width, round(cols * cell)), max(height, round(rows * cell)))
        out += amplitude * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[:height, :width]
        power += amplitude * amplitude
        cell, amplitude = cell / 2, amplitude * gain
        if cell < max(fine_px, 1.0):
            return out / np.float32(0.75 * np.sqrt(power))


def flat(height: int, width: int, colour: Colour) -> Image:
    """One colour."""
    return np.full((height, width, 3), colour, np.float32)


def blend(below: Image, above: Image | Colour, alpha: Plane) -> None:
    """Paint `above` over `below` in place, by alpha (H,W) in 0..1."""
    below += alpha[..., None] * (np.asarray(above, np.float32) - below)


def vary(rng: Generator, colour: Colour, spread: float) -> Colour:
    """A colour near another: common brightness change and a little hue."""
    value = np.array(colour) * (1 + spread * rng.standard_normal())
    b, g, r = np.clip(value + 0.22 * spread * rng.standard_normal(3), 0.02, 0.98)
    return float(b), float(g), float(r)


def bricks(rng: Generator, height: int, width: int, texel_m: float, colour: Colour) -> Image:
    """Running bond with a shade of its own for every brick."""
    brick_h, brick_w, joint = 0.085 / texel_m, 0.26 / texel_m, 0.012 / texel_m
    rows, cols = int(height / brick_h) + 2, int(width / brick_w) + 3
    y = np.arange(height, dtype=np.float32)
    row = (y / brick_h).astype(np.int32)
    shift = (0.5 * (np.arange(rows) % 2) + rng.uniform(-0.12, 0.12, rows)).astype(np.float32)
    across = np.arange(width, dtype=np.float32)[None, :] / brick_w + shift[row][:, None] + 0.2
    col = across.astype(np.int32)
    shades = np.array(colour) * np.exp(0.2 * rng.standard_normal((rows, cols, 1)))
    shades = shades + 0.02 * rng.standard_normal((rows, cols, 3))
    odd = rng.random((rows, cols)) < 0.07
    shades[odd] = np.array([0.25, 0.27, 0.3]) * rng.uniform(0.5, 1.7, (odd.sum(), 1))
    image: Image = np.clip(shades, 0.05, 0.9).astype(np.float32)[
        row[:, None], np.minimum(col, cols - 1)
    ]
    edge_y = np.minimum(y % brick_h, brick_h - y % brick_h)[:, None]
    edge_x = np.minimum(across - col, 1 + col - across) * brick_w
    mortar = np.clip(1.0 - np.minimum(edge_y, edge_x) / max(joint, 0.7), 0, 1)
    blend(image, vary(rng, (0.48, 0.52, 0.56), 0.05), mortar.astype(np.float32))
    image *= 1 + 0.09 * noise(rng, height, width, 0.3 / texel_m, 0.03 / texel_m)[..., None]
    return image


def plaster(rng: Generator, height: int, width: int, texel_m: float, colour: Colour) -> Image:
    """Stained plaster with cracks, patches of repair and fallen-off spots."""
    image = flat(height, width, colour)
    for coarse_m, fine_m, depth in ((1.6, 0.2, 0.10), (0.25, 0.03, 0.06)):
        stain = noise(rng, height, width, coarse_m / texel_m, fine_m / texel_m)
        image *= 1 + depth * stain[..., None]
    repair = noise(rng, height, width, 0.7 / texel_m, 0.05 / texel_m)
    blend(image, vary(rng, colour, 0.2), 0.6 * np.clip((repair - 0.9) * 8, 0, 1))
    fallen = noise(rng, height, width, 0.9 / texel_m, 0.04 / texel_m)
    bare = np.clip((fallen - 1.05) * 10, 0, 1)
    rim = np.clip((fallen - 0.95) * 10, 0, 1) - bare
    blend(image, bricks(rng, height, width, texel_m, (0.22, 0.3, 0.5)), bare)
    blend(image, (0.85, 0.88, 0.9), 0.6 * rim)
    speckle = noise(rng, height, width, 0.05 / texel_m, 0.02 / texel_m)
    blend(image, (0.2, 0.22, 0.24), 0.3 * np.clip((speckle - 1.6) * 3, 0, 1))
    cracks = np.zeros((height, width), np.uint8)
    for _ in range(max(2, int(height * width * texel_m**2 * 0.5))):
        steps = np.cumsum(rng.normal(0, 0.06 / texel_m, (14, 2)) + rng.normal(0, 0.03, 2), axis=0)
        path = (steps + rng.random(2) * [width, height]).astype(np.int32)
        cv2.polylines(cracks, [path], False, 200, max(1, round(0.005 / texel_m)), cv2.LINE_AA)
    blend(image, (0.15, 0.16, 0.18), cracks.astype(np.float32) / np.float32(255))
    return image


def paving(rng: Generator, height: int, width: int, texel_m: float) -> Image:
    """Irregular stones of 10 to 40 cm with dark joints, moss and stains."""
    pitch = 0.26 / texel_m
    rows, cols = int(height / pitch) + 2, int(width / pitch) + 2
    seeds = np.full((height, width), 255, np.uint8)
    at = (
        np.indices((rows, cols)).reshape(2, -1).T + rng.uniform(-0.1, 1.1, (rows * cols, 2))
    ) * pitch
    at = at[rng.random(len(at)) < 0.8].astype(np.int32)
    at = at[(at[:, 0] >= 0) & (at[:, 1] >= 0) & (at[:, 0] < height) & (at[:, 1] < width)]
    seeds[at[:, 0], at[:, 1]] = 0
    _, stone = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    stones = int(stone.max()) + 1
    hues = np.array([[0.50, 0.54, 0.58], [0.42, 0.48, 0.55], [0.55, 0.55, 0.54], [0.36, 0.42, 0.5]])
    shades = hues[rng.integers(0, len(hues), stones)]
    shades = shades * np.exp(0.17 * rng.standard_normal((stones, 1)))
    image: Image = np.clip(shades, 0.08, 0.9).astype(np.float32)[stone]
    image *= 1 + 0.08 * noise(rng, height, width, 0.2 / texel_m, 0.03 / texel_m)[..., None]
    image *= 1 + 0.08 * noise(rng, height, width, 2.0 / texel_m, 0.3 / texel_m)[..., None]
    flat_inside = np.full((height, width), 255, np.uint8)
    flat_inside[:, 1:][stone[:, 1:] != stone[:, :-1]] = 0
    flat_inside[1:][stone[1:] != stone[:-1]] = 0
    to_edge = cv2.distanceTransform(flat_inside, cv2.DIST_L2, 5) * texel_m
    joint = np.clip((0.011 - to_edge) / 0.006, 0, 1)
    moss = np.clip(0.5 + 0.5 * noise(rng, height, width, 0.8 / texel_m, 0.1 / texel_m), 0, 1)
    blend(image, (0.22, 0.25, 0.27), joint)
    blend(image, (0.14, 0.3, 0.22), joint * moss)
    return image


def planks(rng: Generator, height: int, width: int, texel_m: float, colour: Colour) -> Image:
    """Upright boards with grain and knots."""
    board = max(2, round(0.11 / texel_m))
    count = width // board + 2
    shades = np.array(colour) * np.exp(0.15 * rng.standard_normal((count, 1)))
    image = np.clip(shades, 0.03, 0.9).astype(np.float32)[np.arange(width) // board]
    image = np.broadcast_to(image, (height, width, 3)).copy()
    grain = noise(rng, height // 8 + 2, width, 0.04 / texel_m, 0.008 / texel_m)
    image *= 1 + 0.16 * cv2.resize(grain, (width, height))[..., None]
    image[:, (np.arange(width) % board) < max(1, round(0.008 / texel_m))] *= 0.35
    for _ in range(max(1, int(height * width * texel_m**2 * 7))):
        at = (int(rng.integers(width)), int(rng.integers(height)))
        radius = max(1, round(rng.uniform(0.008, 0.022) / texel_m))
        cv2.ellipse(
            image, at, (radius, 2 * radius), 0, 0, 360, vary(rng, (0.1, 0.14, 0.2), 0.2), -1
        )
    return image


def stone(rng: Generator, height: int, width: int, texel_m: float, colour: Colour) -> Image:
    """Weathered stone: blotches over several scales, lichen, chips."""
    image = flat(height, width, colour)
    image *= 1 + 0.15 * noise(rng, height, width, 0.3 / texel_m, 0.03 / texel_m)[..., None]
    for colour_of, size_m, over in (
        ((0.35, 0.62, 0.68), 0.1, 1.2),
        ((0.16, 0.17, 0.18), 0.08, 1.3),
    ):
        spots = noise(rng, height, width, size_m / texel_m, 0.03 / texel_m, 0.5)
        blend(image, vary(rng, colour_of, 0.1), 0.5 * np.clip((spots - over) * 3, 0, 1))
    return image


def foliage(rng: Generator, height: int, width: int, texel_m: float) -> Image:
    """A dense bush: overlapping leaves, light over dark."""
    image = flat(height, width, (0.04, 0.09, 0.06))
    leaves = int(height * width * texel_m**2 / 0.0012) + 4
    at = rng.integers(0, [width, height], (leaves, 2)).tolist()
    long_px = rng.uniform(0.025, 0.055, leaves) / texel_m
    axes = np.maximum(1, np.round(long_px[:, None] * [1, 0.45])).astype(int).tolist()
    turn = rng.uniform(0, 360, leaves).tolist()
    light = np.linspace(0.45, 1.2, leaves)[:, None] * np.exp(rng.normal(0, 0.2, (leaves, 1)))
    shade = (light * [0.16, 0.46, 0.3] * np.exp(rng.normal(0, 0.06, (leaves, 3)))).tolist()
    for i in range(leaves):
        cv2.ellipse(image, at[i], axes[i], turn[i], 0, 360, shade[i], -1, cv2.LINE_AA)
    return image


def sky(rng: Generator) -> Image:
    """Azimuth across (wraps round), elevation 90 to 0° down; soft clouds."""
    height, width = 256, 1024
    up = np.linspace(1, 0, height, dtype=np.float32)[:, None, None]
    zenith = np.array([0.86, 0.62, 0.42], np.float32)
    horizon = np.array([0.93, 0.86, 0.8], np.float32)
    image = np.asarray(up * zenith + (1 - up) * horizon)
    image = np.broadcast_to(image, (height, width, 3)).copy()
    clouds = noise(rng, height, width, 180, 8, 0.55)
    fade = np.linspace(0, 1, width // 8, dtype=np.float32)
    clouds[:, -width // 8 :] += fade * (clouds[:, :1] - clouds[:, -1:])
    blend(image, (0.97, 0.97, 0.97), 0.8 * np.clip((clouds - 0.1) * 0.9, 0, 1))
    return image
