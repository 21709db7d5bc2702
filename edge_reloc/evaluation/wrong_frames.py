"""Wrong frames, and the poses that are right for them: one at a time or in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..arrays import U8, Array
from ..geometry.camera import Camera
from ..structs import Frame
from . import wrong_images as images
from .wrong_images import Change, Join, Rng

SEQUENCE = 5  # frames
HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])  # turned_cam_from_cam


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Shot:
    """A photo as its camera gave it, or a wrong one made of it."""

    #: its camera is the one that the localiser is told
    frame: Frame
    #: `cam_from_world` (4,4) of every pose that is right; empty where none is
    right: tuple[Array, ...]


class Album(Protocol):
    """Photos that a wrong case is made of."""

    def shot(self, index: int) -> Shot:
        """A photo of the place by its number, which may be any."""

    def another(self, index: int, rng: Rng) -> int:
        """Number of another photo by the same camera; only where there is one."""

    def elsewhere(self, rng: Rng, like: U8) -> U8 | None:
        """A photo of another place, as large as `like`; None without such photos."""


def _whole(image: U8) -> U8:
    return np.ascontiguousarray(image)


def camera_of(shot: Shot) -> Camera:
    """That the localiser is told."""
    assert shot.frame.camera is not None  # a data set's frames have one
    return shot.frame.camera


def changed(shot: Shot, change: Change, rng: Rng, *, right: bool) -> Shot:
    """Another image; right: whether the pose still is."""
    frame = replace(shot.frame, image=_whole(change(shot.frame.image, rng)))
    return Shot(frame=frame, right=shot.right if right else ())


def composed(one: Shot, other: Shot, join: Join) -> Shot:
    """Two photos in one image; either pose is right."""
    image = _whole(join(one.frame.image, images.fitted(other.frame.image, one.frame.image)))
    return Shot(frame=replace(one.frame, image=image), right=one.right + other.right)


def upside_down(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    """By a camera that hangs; its calibration is that of the turned image."""
    shot = album.shot(index)
    camera = camera_of(shot)
    distortion = list(camera.distortion)
    if camera.model == "opencv":  # p1 and p2 have a direction
        distortion[2:4] = [-distortion[2], -distortion[3]]
    turned = replace(
        camera,
        cx=camera.width - 1 - camera.cx,
        cy=camera.height - 1 - camera.cy,
        distortion=tuple(distortion),
    )
    frame = replace(shot.frame, image=_whole(shot.frame.image[::-1, ::-1]), camera=turned)
    return [Shot(frame=frame, right=tuple(HALF_TURN @ pose for pose in shot.right))]


def teleporting(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    """Photos in no order, as one sequence."""
    return [album.shot(int(number)) for number in rng.integers(0, 1 << 30, SEQUENCE)]


def frozen(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    """One photo again and again."""
    return [album.shot(index)] * SEQUENCE


def blacked_out(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    """Every second frame black."""
    return [
        album.shot(index + number)
        if number % 2 == 0
        else changed(album.shot(index + number), images.black, rng, right=False)
        for number in range(SEQUENCE)
    ]


def mirrored_in_between(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    """Each photo, then its mirror image."""
    shots = [album.shot(index), album.shot(index + 1)]
    return [s for shot in shots for s in (shot, changed(shot, images.mirrored, rng, right=False))]


def half_old_half_new(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    """A sequence beside another one in each frame."""
    other = album.another(index, rng)
    return [
        composed(album.shot(index + number), album.shot(other + number), images.left_and_right)
        for number in range(SEQUENCE)
    ]
