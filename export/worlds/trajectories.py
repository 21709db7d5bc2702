"""Where the photographs are taken: a mapping walk and a hand-held query path.

Both go round the fountain on an oval, between it and what stands by the walls.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from edge_reloc.arrays import Array
from edge_reloc.geometry.rigid import compose, invert

OVAL_M = (3.3, 2.5)  # half axes of the walk
# Turns of the gaze from straight out of the yard (0) by way of ahead (90).
MAPPING_TURNS_DEG = (5.0, 65.0, 165.0)


def look(centre: Array, azimuth_rad: float, pitch_rad: float, roll_rad: float = 0.0) -> Array:
    """cam_from_world (4,4) of a camera at a place (3,).

    azimuth from north to east, pitch up, roll clockwise as the camera sees.
    """
    sin, cos = np.sin(azimuth_rad), np.cos(azimuth_rad)
    forward = np.array([sin * np.cos(pitch_rad), cos * np.cos(pitch_rad), np.sin(pitch_rad)])
    level = np.array([cos, -sin, 0.0])
    down = np.cross(forward, level)
    right = np.cos(roll_rad) * level + np.sin(roll_rad) * down
    return invert(compose(np.stack([right, np.cross(forward, right), forward], axis=1), centre))


def mapping_views(rng: Generator, stations: int = 32) -> list[Array]:
    """Poses of 3 photos at each station of a walk around the yard."""
    views = []
    for station in range(stations):
        angle = 2 * np.pi * station / stations
        for turn_deg in MAPPING_TURNS_DEG:
            swing = rng.normal(0, [0.15, 0.15, 0.2])
            centre = _on_oval(angle, 1.0) + np.clip(swing, -0.4, 0.4)
            azimuth = _outward(angle) + np.radians(turn_deg + rng.uniform(-8, 8))
            pitch = np.radians(rng.uniform(-4, 12))
            views.append(look(centre, azimuth, pitch, np.radians(rng.normal(0, 2))))
    return views


def query_path(rng: Generator, frames: int = 120) -> list[Array]:
    """A smooth hand-held round, off the mapping walk by up to about a metre."""
    wander = _Sway(rng, frames)
    poses = []
    for frame in range(frames):
        angle = 2 * np.pi * (frame / frames + 0.06)
        scale = 0.95 + 0.16 * np.sin(3 * angle + 0.5)
        centre = _on_oval(angle, scale) + wander.at(frame, [0.06, 0.06, 0.1])
        centre[2] += 0.12 * np.sin(2 * angle)
        turn_deg = 36 + 34 * np.sin(2 * angle + 1.0)
        yaw, pitch, roll = np.radians(wander.at(frame, [3.5, 2.5, 2.5], start=3))
        azimuth = _outward(angle) + np.radians(turn_deg) + yaw
        poses.append(look(centre, azimuth, np.radians(4) + pitch, roll))
    return poses


def motion_px(poses: list[Array], index: int, focal_px: float, shutter: float) -> Array:
    """How far (2,) the picture's middle moves while the shutter is open.

    shutter: open share of the time between two frames; a surface 4 m ahead.
    """
    before, after = poses[max(index - 1, 0)], poses[min(index + 1, len(poses) - 1)]
    ahead = invert(poses[index]) @ np.array([0.0, 0.0, 4.0, 1.0])
    a, b = before @ ahead, after @ ahead
    return np.asarray(focal_px * shutter / 2 * (b[:2] / b[2] - a[:2] / a[2]))


class _Sway:
    """Band-limited hand shake: a few slow sines per channel, unit spread."""

    def __init__(self, rng: Generator, frames: int) -> None:
        self._rate = 2 * np.pi * rng.integers(3, 14, (6, 4)) / frames
        self._phase = rng.uniform(0, 2 * np.pi, (6, 4))

    def at(self, frame: int, spread: list[float], start: int = 0) -> Array:
        rows = slice(start, start + len(spread))
        waves = np.sin(self._rate[rows] * frame + self._phase[rows])
        return np.asarray(np.array(spread) * waves.sum(axis=1) / np.sqrt(2))


def _on_oval(angle: float, scale: float) -> Array:
    """A point (3,) at eye height, clockwise from north as the angle grows."""
    x, y = OVAL_M[0] * np.sin(angle), OVAL_M[1] * np.cos(angle)
    return np.array([scale * x, scale * y, 1.65])


def _outward(angle: float) -> float:
    """Azimuth that looks straight out of the yard from a point on the oval."""
    return float(np.arctan2(np.sin(angle) / OVAL_M[0], np.cos(angle) / OVAL_M[1]))
