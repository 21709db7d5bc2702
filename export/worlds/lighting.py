"""Sun, shadow and the darkness of corners, baked into the textures once.

A shadow is the projection of one quad along the light onto another quad's
plane: a polygon, drawn into the light of the quad that receives it.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_reloc.arrays import F32, Array

from .world import Quad

SUN = np.array([-0.42, -0.55, 0.72]) / np.linalg.norm([-0.42, -0.55, 0.72])
SUN_LIGHT, SKY_LIGHT = 0.5, 0.74
SKY_RAYS, SKY_REACH_M, SKY_SPACING_M = 20, 1.5, 0.1
SMALL_M2 = 0.3  # smaller quads get an even share of the sky
LIFT_M = 0.003  # what is nearer than this casts no shadow
FRACTION_BITS = 6


def bake_light(quads: list[Quad], shadow_m: float) -> None:
    """Multiply every texture by its light, in place.

    shadow_m: texels of the shadows; 0 shades by direction only.
    """
    corners = np.stack([quad.corners for quad in quads])
    for quad in quads:
        height, width = quad.texture.shape[:2]
        light = _light(quad, corners, shadow_m)
        light = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
        lit = quad.texture * light[..., None]
        quad.texture = np.clip(lit + 0.5, 0, 255).astype(np.uint8)


def _light(quad: Quad, corners: Array, shadow_m: float) -> F32:
    """Light (h,w) on a coarse grid over a quad; corners (Q,4,3) of all quads."""
    facing = max(0.0, float(quad.normal @ SUN))
    if shadow_m == 0:
        return np.full((1, 1), SKY_LIGHT + SUN_LIGHT * facing, np.float32)
    sky = _open_sky(quad, corners) * np.float32(0.75 + 0.25 * quad.normal[2])
    if facing < 1e-3:
        return np.asarray(SKY_LIGHT * (0.25 + sky))
    shape = _grid_shape(quad, shadow_m)
    sun = cv2.GaussianBlur(1 - _shadow(quad, corners, SUN, shape, np.inf), (3, 3), 0.8)
    sky = cv2.resize(sky, (shape[1], shape[0]))
    return np.asarray(SKY_LIGHT * (0.25 + sky) + np.float32(SUN_LIGHT * facing) * sun)


def _open_sky(quad: Quad, corners: Array) -> F32:
    """Share (h,w) of the sky's light that nearby quads let through."""
    shape = _grid_shape(quad, SKY_SPACING_M)
    if shape[0] * shape[1] * SKY_SPACING_M**2 < SMALL_M2:
        return np.full(shape, 0.8, np.float32)
    sky = np.zeros(shape, np.float32)
    for direction in _hemisphere(quad.normal):
        sky += 1 - _shadow(quad, corners, direction, shape, SKY_REACH_M)
    return np.asarray(cv2.blur(sky / SKY_RAYS, (3, 3)))


def _grid_shape(quad: Quad, spacing_m: float) -> tuple[int, int]:
    height, width = np.linalg.norm(quad.edge_v), np.linalg.norm(quad.edge_u)
    return max(2, int(height / spacing_m)), max(2, int(width / spacing_m))


def _hemisphere(normal: Array) -> Array:
    """Directions (SKY_RAYS,3), even by cosine around a normal."""
    i = np.arange(SKY_RAYS)
    radius, angle = np.sqrt((i + 0.5) / SKY_RAYS), i * np.pi * (3 - np.sqrt(5))
    side = np.cross(normal, [0.0, 0.0, 1.0] if abs(normal[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    up = np.cross(normal, side)
    x, y, z = radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)
    return np.asarray(x[:, None] * side + y[:, None] * up + z[:, None] * normal)


def _shadow(
    quad: Quad, corners: Array, direction: Array, shape: tuple[int, int], reach_m: float
) -> F32:
    """Mask (h,w), 1 where a quad stands within reach in a direction."""
    cos = float(quad.normal @ direction)
    above = corners - quad.corner
    height = above @ quad.normal  # (Q,4)
    ground = above - height[..., None] / cos * direction
    u = ground @ quad.edge_u / (quad.edge_u @ quad.edge_u)
    v = ground @ quad.edge_v / (quad.edge_v @ quad.edge_v)
    top = reach_m * cos
    low, high = height.min(axis=1), height.max(axis=1)
    hit = (high > LIFT_M) & (low < top)
    hit &= (u.max(axis=1) > 0) & (u.min(axis=1) < 1) & (v.max(axis=1) > 0) & (v.min(axis=1) < 1)
    mask = np.zeros(shape, np.uint8)
    for index in np.flatnonzero(hit):
        ring = np.stack([u[index], v[index], height[index]], axis=1)
        if low[index] < -LIFT_M:
            ring = _clip(ring, 0.0, 1.0)
        if high[index] > top:
            ring = _clip(ring, top, -1.0)
        pixels = np.clip(ring[:, :2], -50, 50) * [shape[1], shape[0]] - 0.5
        points = np.round(pixels * (1 << FRACTION_BITS)).astype(np.int32)
        cv2.fillConvexPoly(mask, points, 1, cv2.LINE_8, FRACTION_BITS)
    return mask.astype(np.float32)


def _clip(ring: Array, bound: float, sign: float) -> Array:
    """The part of a convex polygon (N,3) where sign * (third - bound) > 0."""
    value = sign * (ring[:, 2] - bound)
    kept = []
    for a, b, va, vb in zip(ring, np.roll(ring, -1, 0), value, np.roll(value, -1), strict=True):
        if va > 0:
            kept.append(a)
        if (va > 0) != (vb > 0):
            kept.append(a + va / (va - vb) * (b - a))
    return np.array(kept).reshape(-1, 3)
