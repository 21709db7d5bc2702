"""Corners to a twentieth of a pixel, and how sharp the edges at them are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST_WINDOW_PX, LARGEST_WINDOW_PX = 2, 11  # half sides


def refine_corners(grey: NDArray[np.uint8], xy_px: Array, clear: float) -> Array:
    """Corners (N,2) moved to where the gradients around them agree.

    clear: the share of a square around a corner that shows only its two
    edges. A window that reaches into a ChArUco marker pulls the corner by
    half a pixel; one as large as `clear` allows halves the detector's error.
    """
    distance_px = neighbour_distance_px(xy_px)
    # A corner whose true neighbour is not seen, or is none, as at an AprilGrid's own corners.
    distance_px = np.minimum(distance_px, 1.5 * np.median(distance_px))
    window_px = np.floor(clear * distance_px)
    window_px = np.clip(window_px, SMALLEST_WINDOW_PX, LARGEST_WINDOW_PX).astype(int)
    refined, inside = xy_px.copy(), within(grey, xy_px)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 60, 1e-4)
    for size in np.unique(window_px):
        chosen = (window_px == size) & inside
        if not chosen.any():
            continue
        start = xy_px[chosen].astype(np.float32).reshape(-1, 1, 2)
        window = (int(size), int(size))
        refined[chosen] = cv2.cornerSubPix(grey, start, window, (-1, -1), stop).reshape(-1, 2)
    lost = np.abs(refined - xy_px).max(axis=1) > window_px
    refined[lost] = xy_px[lost]
    return refined


def within(grey: NDArray[np.uint8], xy_px: Array) -> NDArray[np.bool_]:
    """(...,) whether pixels (...,2) lie in the image."""
    height, width = grey.shape
    return np.asarray(((xy_px >= 0) & (xy_px <= [width - 1, height - 1])).all(axis=-1))


def neighbour_distance_px(xy_px: Array) -> Array:
    """(N,) distance of each of N >= 2 corners to its nearest neighbour."""
    distance = np.linalg.norm(xy_px[:, None] - xy_px[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance.min(axis=1))


def edge_width_px(grey: NDArray[np.uint8], xy_px: Array) -> float:
    """Median width of the dark-to-bright edges at the corners, pixels.

    Contrast over steepest slope in a patch around each corner: 1 to 3 for a
    sharp photo, 2.5 times the sigma of a Gaussian blur.
    """
    reach = np.clip(0.4 * neighbour_distance_px(xy_px), 4, 24).astype(int)
    widths = []
    height, width = grey.shape
    for (x, y), r in zip(np.round(xy_px).astype(int), reach, strict=True):
        top, left = max(y - r, 0), max(x - r, 0)
        patch = grey[top : min(y + r + 1, height), left : min(x + r + 1, width)]
        patch = patch.astype(np.float32)
        if min(patch.shape) < 5:
            continue
        dark, bright = np.percentile(patch, (5, 95))
        along_x = cv2.Sobel(patch, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
        along_y = cv2.Sobel(patch, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
        slope = float(np.percentile(np.hypot(along_x, along_y), 98))
        widths.append((bright - dark) / max(slope, 1e-6))
    return float(np.median(widths)) if widths else float("inf")


def refine_circles(grey: NDArray[np.uint8], xy_px: Array) -> Array:
    """Centres (N,2) of dark discs on white, as the centroids of what is dark around each.

    That is the centroid of the disc's picture, not the picture of its centre.
    """
    reach = np.clip(0.5 * neighbour_distance_px(xy_px), 3, 80)
    refined = xy_px.copy()
    for i, r in enumerate(reach):
        for _ in range(3):
            centre = _dark_centroid(grey, refined[i], float(r))
            if centre is None or np.abs(centre - xy_px[i]).max() > r / 2:
                refined[i] = xy_px[i]
                break
            refined[i] = centre
    return refined


def _dark_centroid(grey: NDArray[np.uint8], centre: Array, reach: float) -> Array | None:
    """Centroid (2,) of the darkness within `reach` of a pixel; None without contrast."""
    left, top = np.maximum(np.floor(centre - reach).astype(int), 0)
    right, bottom = np.ceil(centre + reach).astype(int) + 1
    patch = grey[top:bottom, left:right].astype(np.float64)
    y, x = np.indices(patch.shape)
    away = np.hypot(x + left - centre[0], y + top - centre[1])
    inside = away <= reach
    if inside.sum() < 9:
        return None
    dark, bright = np.percentile(patch[inside], (5, 90))
    if bright - dark < 10:
        return None
    # A tenth off both ends, so that noise on white far from the disc weighs nothing.
    share = np.clip(((bright - patch) / (bright - dark) - 0.1) / 0.8, 0, 1) * inside
    total = share.sum()
    if total <= 0:
        return None
    return np.array([(share * x).sum() / total + left, (share * y).sum() / total + top])
