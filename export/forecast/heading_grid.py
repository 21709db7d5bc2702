"""Places above the ground, and headings: where a map is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import ConfigError
from edge_reloc.geometry.rigid import camera_centre

from ..packing.landmarks import ground_axes
from ..scene.model import SceneModel, View
from ..worlds.trajectories import look

PLACES = 300  # about as many where no step is asked for
MOST_PLACES, LEAST_DEG = 20_000, 1.0
NEAREST = 5  # mapping photos whose height and pitch a place takes
STEPS = (1.0, 2.0, 5.0)
INNER = (2.0, 98.0)  # per cent of the points: the others lie far out


@dataclass(frozen=True, kw_only=True)
class Level:
    """The ground's axes: level_from_world turns x east (or to the right), y north, z up."""

    level_from_world: F64  #: (3,3)

    def cam_from_world(self, place: F64, heading_rad: float, pitch_rad: float) -> F64:
        """(4,4) of a camera at a level place (3,); heading clockwise from y, pitch up."""
        pose = look(place, heading_rad, pitch_rad).copy()
        pose[:3, :3] = pose[:3, :3] @ self.level_from_world
        return pose


@dataclass(frozen=True, kw_only=True)
class Grid:
    """G places (G,3) of the level frame, each with a pitch (G,), and H headings (H,)."""

    level: Level
    place: F64
    pitch_rad: F64
    heading_rad: F64
    step: float  #: between places, map units


def level_of(model: SceneModel) -> Level:
    """x of the world stays x where z of the world is up, as in a georeferenced one."""
    first, second = ground_axes(model.xyz, model.gravity)
    up = np.cross(first, second)
    upward = -np.mean([view.cam_from_world[1, :3] for view in model.views], axis=0)
    if up @ (upward if model.gravity is None else -np.asarray(model.gravity)) < 0:
        up = -up
    sideways = np.array([1.0, 0.0, 0.0])
    if abs(up[0]) > 0.9:
        sideways = np.array([0.0, 1.0, 0.0])
    east = sideways - (sideways @ up) * up
    east /= np.linalg.norm(east)
    return Level(level_from_world=np.stack([east, np.cross(up, east), up]))


def make_grid(
    model: SceneModel, *, step: float | None, every_deg: float, height: float | None
) -> Grid:
    """Over the mapped ground. Raises ConfigError for more than can be asked about.

    step: between places; None finds one. height: of all places; None takes that of the nearest
    mapping photos.
    """
    if every_deg < LEAST_DEG:
        raise ConfigError(f"--every-deg: found {every_deg:g}, expected {LEAST_DEG:g} or more")
    if height is not None and not np.isfinite(height):
        raise ConfigError(f"--height: found {height}, expected a finite number")
    level = level_of(model)
    turn = level.level_from_world
    centre = np.array([camera_centre(view.cam_from_world) for view in model.views]) @ turn.T
    low, high = np.percentile(model.xyz @ turn.T, INNER, axis=0)
    low, high = np.minimum(low, centre.min(axis=0)), np.maximum(high, centre.max(axis=0))
    size = high - low
    step = step or _round(float(np.sqrt(max(size[0] * size[1], 1e-12) / PLACES)))
    wanted = np.maximum(np.ceil(size[:2] / step), 1.0)
    if wanted.max() > MOST_PLACES or wanted.prod() > MOST_PLACES:
        raise ConfigError(
            f"--step {step:g}: {wanted[0]:.4g} x {wanted[1]:.4g} places, expected at most "
            f"{MOST_PLACES} in all; take a larger step"
        )
    counts = wanted.astype(int)
    x, y = (low[k] + (np.arange(counts[k]) + 0.5) * size[k] / counts[k] for k in (0, 1))
    place = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    near = np.argsort(np.linalg.norm(place[:, None] - centre[None, :, :2], axis=2), axis=1)
    near = near[:, :NEAREST]
    own = np.median(centre[near, 2], axis=1) if height is None else np.full(len(place), height)
    return Grid(
        level=level,
        place=np.column_stack([place, own]),
        pitch_rad=np.median(_pitches(model.views, turn)[near], axis=1),
        heading_rad=np.radians(np.arange(0.0, 360.0, every_deg)),
        step=step,
    )


def _pitches(views: Sequence[View], turn: F64) -> F64:
    """(V,) radians that photos look up by."""
    up = np.array([turn @ view.cam_from_world[2, :3] for view in views])[:, 2]
    return np.asarray(np.arcsin(np.clip(up, -1.0, 1.0)))


def _round(step: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(power * min(STEPS, key=lambda digit: abs(np.log(step / power / digit))))
