"""Wrong cases on purpose: frames that a localiser must answer rightly, or not at all.

Each is made of photos with reference poses; what is drawn comes from a seeded generator, so
that the same case, seed and try are the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from ..arrays import U8
from ..errors import ConfigError
from ..geometry.camera import Camera
from . import wrong_frames as frames
from . import wrong_images as images
from .wrong_frames import Album, Shot, camera_of, changed, composed
from .wrong_images import GREY, Change, Join, Rng


class Expected(str, Enum):
    """What a localiser that can be believed answers."""

    #: no pose of the place explains the frame
    NEVER = "never OK"
    #: a pose does, and a status without a pose is no lie either
    RIGHT = "right or not OK"


class Need(str, Enum):
    """What a case cannot be made without."""

    ANOTHER = "another photo by the same camera, of each"
    ONE_CAMERA = "several photos, all by one camera"
    ELSEWHERE = "photos of other places (--foreign FOLDER)"
    TRACKING = "a method with tracking (+t)"


Make = Callable[[Album, int, Rng], Sequence[Shot]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kind of wrong frame, or of frames in a row."""

    name: str
    #: what is done, in a few words
    about: str
    expected: Expected
    #: of the photo of a number: frames to show one after the other at 30 Hz
    make: Make
    needs: tuple[Need, ...] = ()


def _image(name: str, about: str, expected: Expected, change: Change) -> Case:
    """The image is another one."""

    def make(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
        return [changed(album.shot(index), change, rng, right=expected is Expected.RIGHT)]

    return Case(name=name, about=about, expected=expected, make=make)


def _calibration(name: str, about: str, change: Callable[[Camera, Rng], Camera]) -> Case:
    """The localiser is told another camera than the one that took the photo."""

    def make(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
        shot = album.shot(index)
        told = change(camera_of(shot), rng)
        return [Shot(frame=replace(shot.frame, camera=told), right=shot.right)]

    return Case(name=name, about=about, expected=Expected.RIGHT, make=make)


def _focal(factor: float) -> Case:
    return _calibration(
        f"focal_x{factor:g}",
        f"the focal length that is told is {factor:g} times the true one",
        lambda camera, rng: replace(camera, fx=camera.fx * factor, fy=camera.fy * factor),
    )


def _principal_point(share: float) -> Case:
    def change(camera: Camera, rng: Rng) -> Camera:
        angle, away = rng.uniform(0, 2 * np.pi), share * camera.width
        return replace(
            camera, cx=camera.cx + away * np.cos(angle), cy=camera.cy + away * np.sin(angle)
        )

    name, percent = f"principal_point_{share:.0%}".rstrip("%"), f"{share:.0%}"
    return _calibration(name, f"the principal point is told {percent} of the width off", change)


def _photo_of_photo(
    name: str, about: str, join: Callable[[U8, U8, Rng], U8], *, same_place: bool = False
) -> Case:
    """A photo shown flat; right is, if any pose, that of the photo around it."""

    def make(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
        shot = album.shot(index)
        image = shot.frame.image
        if same_place:
            around = album.shot(album.another(index, rng))
            return [changed(around, lambda onto, rng: join(image, onto, rng), rng, right=True)]
        onto = album.elsewhere(rng, image)
        onto = np.full_like(image, GREY) if onto is None else onto
        return [changed(shot, lambda image, rng: join(image, onto, rng), rng, right=False)]

    return Case(
        name=name,
        about=about,
        expected=Expected.RIGHT if same_place else Expected.NEVER,
        make=make,
        needs=(Need.ANOTHER,) if same_place else (),
    )


def _shown_flat(scale: float) -> Callable[[U8, U8, Rng], U8]:
    return lambda image, onto, rng: images.pasted(image, onto, scale, rng)


def _two(name: str, about: str, join: Join) -> Case:
    """Two photos in one frame; either pose is right."""

    def make(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
        other = album.shot(album.another(index, rng))
        return [composed(album.shot(index), other, join)]

    return Case(name=name, about=about, expected=Expected.RIGHT, make=make, needs=(Need.ANOTHER,))


def _elsewhere(album: Album, index: int, rng: Rng) -> Sequence[Shot]:
    shot = album.shot(index)
    image = album.elsewhere(rng, shot.frame.image)
    assert image is not None  # the case says that it needs one
    return [changed(shot, lambda _, rng: image, rng, right=False)]


def _sequence(name: str, about: str, make: Make, *more: Need) -> Case:
    return Case(
        name=name,
        about=about,
        expected=Expected.RIGHT,
        make=make,
        needs=(Need.TRACKING, *more),
    )


NEVER, RIGHT = Expected.NEVER, Expected.RIGHT

CASES: tuple[Case, ...] = (
    _image("unaltered", "the photo as it is, to compare with", RIGHT, lambda image, rng: image),
    _image("mirrored", "left is right", NEVER, images.mirrored),
    _image("flipped", "top is bottom, as in a mirror", NEVER, images.flipped),
    Case(
        name="upside_down",
        about="turned by 180 degrees: right is the turned pose",
        expected=RIGHT,
        make=frames.upside_down,
    ),
    _image("inverted", "a negative", RIGHT, images.inverted),
    *(
        _image(f"covered_{side}", f"{side} half plain grey", RIGHT, images.half_covered(side))
        for side in ("left", "right", "top", "bottom")
    ),
    _image("moved_patches", "four parts of the frame moved elsewhere", RIGHT, images.moved_patches),
    *(_focal(factor) for factor in (0.5, 0.8, 0.9, 0.97, 1.03, 1.1, 1.25, 2.0)),
    *(_principal_point(share) for share in (0.1, 0.25)),
    _image(
        "crop_centre",
        "the middle three quarters, told the calibration of the whole",
        RIGHT,
        images.middle,
    ),
    _image(
        "crop_corner",
        "a corner, told the calibration of the whole",
        RIGHT,
        images.corner,
    ),
    _image("stretched", "another aspect, told the old calibration", RIGHT, images.stretched),
    *(
        _photo_of_photo(
            f"photo_of_photo_{scale:g}",
            f"shown flat at {scale:g} of its size, in another place or on a plain wall",
            _shown_flat(scale),
        )
        for scale in (0.35, 0.5, 0.65, 0.8)
    ),
    _photo_of_photo("photo_tilted", "the same, large and seen at an angle", images.tilted),
    *(
        _photo_of_photo(
            f"poster_{scale:g}",
            f"shown flat at {scale:g} of its size where another photo was taken",
            _shown_flat(scale),
            same_place=True,
        )
        for scale in (0.5, 0.65)
    ),
    _two("left_and_right", "halves of two photos side by side", images.left_and_right),
    _two("top_and_bottom", "halves of two photos one above the other", images.top_and_bottom),
    _two("third_of_another", "30 % of the columns are another photo's", images.third_of_another),
    _two("blended", "two photos, exposed twice", images.blended),
    _image("tiled_piece", "a twelfth of the frame over and over", NEVER, images.tiled_piece),
    _image("tiled_frame", "the frame at half its size, four times", NEVER, images.tiled_frame),
    _image("shuffled_blocks", "cut in 3 x 4, no block where it was", NEVER, images.shuffled_blocks),
    _image("sheared_rows", "read row by row by a turning camera", RIGHT, images.sheared_rows),
    *(
        _image(f"blur_{sigma}", f"out of focus, sigma {sigma} pixels", RIGHT, images.blurred(sigma))
        for sigma in (2, 4, 8)
    ),
    _image("motion_blur", "smeared over 31 pixels", RIGHT, images.moved_while_exposed),
    _image("dark", "6 % of the light", RIGHT, images.dark),
    _image("jpeg_3", "through JPEG of quality 3", RIGHT, images.compressed(3)),
    _image("fine_noise", "white noise", NEVER, images.fine_noise),
    _image("soft_noise", "noise of spots", NEVER, images.soft_noise),
    _image("noise_blocks", "noise of squares", NEVER, images.noise_blocks),
    _image("plain_grey", "one grey", NEVER, images.plain),
    Case(
        name="elsewhere",
        about="a photo of another place",
        expected=NEVER,
        make=_elsewhere,
        needs=(Need.ELSEWHERE,),
    ),
    _sequence("teleporting", "photos in no order, 33 ms apart", frames.teleporting),
    _sequence("frozen", "one photo again and again", frames.frozen),
    _sequence("blacked_out", "every second frame black", frames.blacked_out),
    _sequence(
        "mirrored_in_between", "each photo, then its mirror image", frames.mirrored_in_between
    ),
    _sequence(
        "half_old_half_new", "two sequences side by side", frames.half_old_half_new, Need.ONE_CAMERA
    ),
)


def chosen_cases(text: str | None) -> tuple[Case, ...]:
    """Comma-separated names, or beginnings of some; all without a text. Raises ConfigError."""
    if text is None:
        return CASES
    begins = text.split(",")
    for begin in begins:
        if not begin or not any(case.name.startswith(begin) for case in CASES):
            raise ConfigError(
                f"cases '{text}': found '{begin}', expected one of "
                f"{', '.join(case.name for case in CASES)}, or the beginning of some"
            )
    return tuple(case for case in CASES if case.name.startswith(tuple(begins)))
