"""What lenses do to the image plane z = 1: there, its slope, and back.

Every function takes x and y (N,), float32 or float64, and keeps the type.
Both models bend symmetrically: d x'/dy = d y'/dx.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]


class Slope(NamedTuple):
    """d bent / d ideal: xx = dx'/dx, xy = dx'/dy = dy'/dx, yy = dy'/dy."""

    xx: Plane
    xy: Plane
    yy: Plane


def bend_opencv(k: tuple[float, ...], x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Radial-tangential, k1 k2 p1 p2 k3 k4 k5 k6, as `cv2.projectPoints`."""
    k1, k2, p1, p2, k3, k4, k5, k6 = k
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if k4 or k5 or k6:
        radial /= 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    if not (p1 or p2):
        return x * radial, y * radial
    cross = x * y
    return (
        x * radial + 2 * p1 * cross + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * cross,
    )


def slope_opencv(k: tuple[float, ...], x: Plane, y: Plane) -> Slope:
    """Derivative of `bend_opencv`."""
    k1, k2, p1, p2, k3, k4, k5, k6 = k
    xx, yy = x * x, y * y
    r2 = xx + yy
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    rise = 2 * k1 + r2 * (4 * k2 + r2 * 6 * k3)  # d radial / d r2, twice: d r2 / dx = 2 x
    if k4 or k5 or k6:
        below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial /= below
        rise = (rise - radial * (2 * k4 + r2 * (4 * k5 + r2 * 6 * k6))) / below
    cross = rise * x * y
    if not (p1 or p2):
        return Slope(radial + rise * xx, cross, radial + rise * yy)
    return Slope(
        radial + rise * xx + 2 * p1 * y + 6 * p2 * x,
        cross + 2 * p1 * x + 2 * p2 * y,
        radial + rise * yy + 6 * p1 * y + 2 * p2 * x,
    )


def bend_fisheye(k: tuple[float, ...], x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Equidistant with k1 k2 k3 k4, as `cv2.fisheye.projectPoints`."""
    scale = _fisheye_scale(k, np.sqrt(x * x + y * y))
    return x * scale, y * scale


def slope_fisheye(k: tuple[float, ...], x: Plane, y: Plane) -> Slope:
    """Derivative of `bend_fisheye`."""
    k1, k2, k3, k4 = k
    r2 = x * x + y * y
    r = np.sqrt(r2)
    scale = _fisheye_scale(k, r)
    t2 = np.arctan(r) ** 2
    steep = (1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))) / (1 + r2)
    rise = (steep - scale) / np.maximum(r2, 1e-18)
    return Slope(scale + rise * x * x, rise * x * y, scale + rise * y * y)


def straighten_opencv(k: tuple[float, ...], x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Inverse of `bend_opencv` wherever it has one.

    The fixed-point start keeps Newton on the branch that holds the centre.
    """
    there_x, there_y = x, y
    for _ in range(3):
        bent_x, bent_y = bend_opencv(k, x, y)
        x, y = there_x - (bent_x - x), there_y - (bent_y - y)
    for _ in range(4):
        bent_x, bent_y = bend_opencv(k, x, y)
        error_x, error_y = bent_x - there_x, bent_y - there_y
        slope = slope_opencv(k, x, y)
        det = slope.xx * slope.yy - slope.xy * slope.xy
        det = np.where(np.abs(det) < 1e-6, 1e-6, det)
        x = x - (slope.yy * error_x - slope.xy * error_y) / det
        y = y - (slope.xx * error_y - slope.xy * error_x) / det
        # Newton squares the error: this step has already paid for the next.
        if max(np.abs(error_x).max(initial=0), np.abs(error_y).max(initial=0)) < 1e-7:
            break
    return x, y


def straighten_fisheye(k: tuple[float, ...], x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Inverse of `bend_fisheye` up to 1.55 rad from the axis."""
    k1, k2, k3, k4 = k
    bent = np.sqrt(x * x + y * y)
    theta = np.minimum(bent, 1.5)
    for _ in range(10):
        t2 = theta * theta
        value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) - bent
        slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
        step = value / np.where(np.abs(slope) < 1e-6, 1e-6, slope)
        theta = np.clip(theta - step, 0, 1.55)
        if np.abs(step).max(initial=0) < 1e-12:
            break
    scale = np.where(bent > 1e-9, np.tan(theta) / np.maximum(bent, 1e-9), 1.0)
    return x * scale, y * scale


def _fisheye_scale(k: tuple[float, ...], r: Plane) -> Plane:
    k1, k2, k3, k4 = k
    theta = np.arctan(r)
    t2 = theta * theta
    bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    scale: Plane = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0).astype(r.dtype)
    return scale
