"""Corners of tags from their edges.

OpenCV's detector puts the corners of small tags a quarter of a pixel too far inside (0.25 px of
tags that are 50 px wide, rendered: 0.7 % of their side); lines through the points where the
brightness changes most, along each side, meet where the corners are (0.02 px).
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_reloc.arrays import F32, F64, U8

ALONG = 24  # points of a side
MODULES = 8.0  # of a tag's side: its border is one wide, and so is the margin at least
STEP_PX = 0.25
LARGEST_MOVE_PX = 2.0


def refined_corners(image: U8, corners: F32) -> F64:
    """Corners (4,2) of a dark square on white, pixels; as they were where edges are unclear."""
    found = corners.astype(np.float64)
    for _ in range(2):  # from the edges' neighbourhood, then from the edges
        sides = [_line(image, found[i], found[(i + 1) % 4]) for i in range(4)]
        crossings = np.array([np.cross(sides[i - 1], sides[i]) for i in range(4)])
        if (np.abs(crossings[:, 2]) < 1e-6).any():
            return corners.astype(np.float64)
        moved = crossings[:, :2] / crossings[:, 2:]
        if np.linalg.norm(moved - corners, axis=1).max() > LARGEST_MOVE_PX:
            return corners.astype(np.float64)
        found = moved
    return found


def _line(image: U8, start: F64, end: F64) -> F64:
    """Line (3,) through a side's edge, dark on the right of start to end as pixels are shown."""
    along = end - start
    length = float(np.linalg.norm(along))
    outward = np.array([along[1], -along[0]]) / max(length, 1e-9)
    reach = max(1.0, 0.7 * length / MODULES)
    away = np.arange(-reach, reach + STEP_PX / 2, STEP_PX)
    at = start + np.linspace(0.12, 0.88, ALONG)[:, None] * along
    sample = at[:, None] + away[:, None] * outward
    grey = cv2.remap(
        image,
        sample[..., 0].astype(np.float32),
        sample[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float64)
    rise = np.maximum(np.diff(grey, axis=1), 0.0) + 1e-9  # darker inside
    middle = 0.5 * (away[1:] + away[:-1])
    offset = (rise * middle).sum(axis=1) / rise.sum(axis=1)
    points = at + offset[:, None] * outward
    near = np.abs(offset - np.median(offset)) < 0.5
    centre = points[near].mean(axis=0)
    direction = np.linalg.svd(points[near] - centre)[2][0]
    normal = np.array([-direction[1], direction[0]])
    return np.array([*normal, -normal @ centre])
