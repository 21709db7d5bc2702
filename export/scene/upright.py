"""Does an aligned world agree with what photos tell of up and of heading?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.geometry.rigid import camera_centre

from ..photos.exif import PhotoFacts
from .gravity import LOOKING_DOWN, level_axis
from .model import SceneModel, View

GIMBAL, LEVEL = "the gimbal's angles", "photos held level"
ENOUGH_PHOTOS = 3  # with an attitude of their own, to be asked
CLEAR = 0.5  # cosine: 60 degrees from up, or from its opposite, is an answer
STEEP = 0.7  # sine of the pitch that no longer leaves photos level
ALIKE = 0.9  # length of the mean of unit vectors that mean the same
TURNED_DEG = 120.0  # median turn from the told attitude that neither compass nor mount explains
GROUND_RATIO = 1.5  # of the depth of the ground and the told height above take-off


class Up(NamedTuple):
    """What photos say of the world's z axis."""

    cosine: float  #: between z and the up that they tell; 0 when they tell nothing
    told_by: str

    @property
    def agrees(self) -> bool:
        return self.cosine > CLEAR

    @property
    def contradicts(self) -> bool:
        return self.cosine < -CLEAR


UNTOLD = Up(0.0, "nothing")


def told_up(views: Sequence[View], facts: Mapping[str, PhotoFacts]) -> Up:
    """Up by the gimbals' angles, else by photos that look down or are held level."""
    rotation = np.array([view.cam_from_world[:3, :3] for view in views])
    known = _attitudes(views, facts, need_yaw=False)
    if len(known) >= ENOUGH_PHOTOS:
        # The third column is the world's z seen by the camera, whatever its heading.
        cosines = [float(rotation[row][:, 2] @ told[:, 2]) for row, told in known.items()]
        return Up(float(np.median(cosines)), GIMBAL)
    forward = rotation[:, 2].mean(axis=0)
    if abs(forward[2]) > LOOKING_DOWN:
        return Up(-float(forward[2]), "photos that look straight down")
    down = level_axis(views, _upright(facts))
    if down is not None and abs(down[2]) > CLEAR:
        return Up(-float(down[2]), LEVEL)
    return Up(-float(forward[2]), "photos that look down") if abs(forward[2]) > STEEP else UNTOLD


class Down(NamedTuple):
    """Unit direction (3,) in the views' own world."""

    direction: F64
    told_by: str


def told_down(views: Sequence[View], facts: Mapping[str, PhotoFacts]) -> Down | None:
    """Which way is down in a world of any orientation; None if untold.

    By the gimbals' angles where photos have them and they agree with the
    poses, else by how photos are held.
    """
    known = _attitudes(views, facts, need_yaw=False)
    if len(known) >= ENOUGH_PHOTOS:
        downs = [-views[row].cam_from_world[:3, :3].T @ told[:, 2] for row, told in known.items()]
        mean = np.mean(downs, axis=0)
        if np.linalg.norm(mean) > ALIKE:
            return Down(np.asarray(mean / np.linalg.norm(mean)), GIMBAL)
    level = level_axis(views, _upright(facts))
    return None if level is None else Down(level, LEVEL)


def _upright(facts: Mapping[str, PhotoFacts]) -> dict[str, int]:
    return {name: fact.quarter_turns for name, fact in facts.items()}


def heading_error_deg(views: Sequence[View], facts: Mapping[str, PhotoFacts]) -> float | None:
    """Median turn between the cameras' attitudes and the gimbals' angles.

    For a world with x east, y north. None when too few photos tell theirs.
    """
    known = _attitudes(views, facts, need_yaw=True)
    if len(known) < ENOUGH_PHOTOS:
        return None
    turns = [
        np.arccos(np.clip((np.trace(told.T @ views[row].cam_from_world[:3, :3]) - 1) / 2, -1, 1))
        for row, told in known.items()
    ]
    return float(np.degrees(np.median(turns)))


def ground_warning(model: SceneModel, facts: Mapping[str, PhotoFacts]) -> str | None:
    """A word when the ground is not as far below as drones say they flew."""
    ratios, depths, heights = [], [], []
    for view in model.views:
        told = facts[view.name].relative_altitude_m if view.name in facts else None
        if told is None or told <= 1.0 or not len(view.point_id):
            continue
        z = camera_centre(view.cam_from_world)[2]
        depth = float(z - np.median(model.xyz[view.point_id, 2]))
        ratios.append(depth / told)
        depths.append(depth)
        heights.append(told)
    if len(ratios) < ENOUGH_PHOTOS or 1 / GROUND_RATIO < np.median(ratios) < GROUND_RATIO:
        return None
    return (
        f"points lie {np.median(depths):.3g} m below the cameras, which say they flew "
        f"{np.median(heights):.3g} m above take-off: check the focal length, or the ground is "
        f"not level with it"
    )


def _attitudes(
    views: Sequence[View], facts: Mapping[str, PhotoFacts], *, need_yaw: bool
) -> dict[int, F64]:
    """cam_from_world rotations (3,3) that the gimbals tell, by row of `views`."""
    out = {}
    for row, view in enumerate(views):
        fact = facts.get(view.name)
        if fact is None or fact.gimbal_pitch_deg is None:
            continue
        if need_yaw and fact.gimbal_yaw_deg is None:
            continue
        angles = (fact.gimbal_yaw_deg or 0.0, fact.gimbal_pitch_deg, fact.gimbal_roll_deg or 0.0)
        right, down, forward = gimbal_rotation(*np.radians(angles))
        # Angles are of the photo as it is shown, unless the roll tells of a turned camera.
        turns = fact.quarter_turns if abs(angles[2]) < 45.0 else 0
        around = (right, down, -right, -down)
        out[row] = np.stack([around[-turns % 4], around[(1 - turns) % 4], forward])
    return out


def gimbal_rotation(yaw_rad: float, pitch_rad: float, roll_rad: float) -> F64:
    """cam_from_world (3,3) of a camera, the world's x east, y north, z up.

    Yaw clockwise from north, pitch up from the horizon, roll clockwise.
    """
    sin, cos = np.sin([yaw_rad, pitch_rad, roll_rad]), np.cos([yaw_rad, pitch_rad, roll_rad])
    forward = np.array([sin[0] * cos[1], cos[0] * cos[1], sin[1]])
    right = np.array([cos[0], -sin[0], 0.0])
    down = np.cross(forward, right)
    return np.stack([cos[2] * right + sin[2] * down, cos[2] * down - sin[2] * right, forward])
