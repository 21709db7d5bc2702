"""What happens to an image of a wrong case: pure, and drawn from a seeded generator.

Images are (H,W) grey. Lengths in pixels hold for images whose longer side is 640 and grow
with it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..arrays import U8

REFERENCE_SIDE_PX = 640
GREY = 127

Rng = np.random.Generator
Change = Callable[[U8, Rng], U8]
Join = Callable[[U8, U8], U8]


def mirrored(image: U8, rng: Rng) -> U8:
    """Left is right."""
    return image[:, ::-1]


def flipped(image: U8, rng: Rng) -> U8:
    """Top is bottom."""
    return image[::-1]


def inverted(image: U8, rng: Rng) -> U8:
    """A negative."""
    return 255 - image


def dark(image: U8, rng: Rng) -> U8:
    """With 6 % of the light."""
    return np.asarray(0.06 * image, np.uint8)


def black(image: U8, rng: Rng) -> U8:
    """With none."""
    return np.zeros_like(image)


def plain(image: U8, rng: Rng) -> U8:
    """One grey."""
    return np.full_like(image, rng.integers(0, 256))


def middle(image: U8, rng: Rng) -> U8:
    """The middle three quarters, enlarged."""
    return cropped(image, 0.125, 0.125, 0.75)


def corner(image: U8, rng: Rng) -> U8:
    """Three fifths from a corner on, enlarged."""
    top, left = rng.choice([0.0, 0.4], 2)
    return cropped(image, top, left, 0.6)


def half_covered(side: str) -> Change:
    """A plain sheet over one half."""

    def change(image: U8, rng: Rng) -> U8:
        covered, (height, width) = image.copy(), image.shape
        {
            "left": covered[:, : width // 2],
            "right": covered[:, width // 2 :],
            "top": covered[: height // 2],
            "bottom": covered[height // 2 :],
        }[side][:] = GREY
        return covered

    return change


def moved_patches(image: U8, rng: Rng) -> U8:
    """Four patches, a quarter of the image on a side, moved to other places."""
    moved, (height, width) = image.copy(), image.shape
    h, w = height // 4, width // 4
    for _ in range(4):
        y, x, to_y, to_x = rng.integers(0, (height - h, width - w) * 2)
        moved[to_y : to_y + h, to_x : to_x + w] = image[y : y + h, x : x + w]
    return moved


def blurred(sigma_px: float) -> Change:
    """Out of focus."""
    return lambda image, rng: np.asarray(
        cv2.GaussianBlur(image, (0, 0), sigma_px * _scale(image)), np.uint8
    )


def moved_while_exposed(image: U8, rng: Rng) -> U8:
    """Smeared over 31 pixels along the rows."""
    length = round(31 * _scale(image))
    return np.asarray(cv2.blur(image, (length, 1)), np.uint8)


def compressed(quality: int) -> Change:
    """Through JPEG."""

    def change(image: U8, rng: Rng) -> U8:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)

    return change


def sheared_rows(image: U8, rng: Rng) -> U8:
    """Rows read while the camera turned; the middle row is where it should be."""
    middle, sheared = len(image) // 2, np.empty_like(image)
    for y, row in enumerate(image):
        sheared[y] = np.roll(row, round(0.12 * (y - middle)))
    return sheared


def shuffled_blocks(image: U8, rng: Rng) -> U8:
    """Cut in 3 x 4, and no block where it was."""
    height, width = image.shape
    h, w = height // 3, width // 4
    places = [(row * h, column * w) for row in range(3) for column in range(4)]
    order = rng.permutation(len(places))
    shuffled = image.copy()
    for here, there in zip(order, np.roll(order, 1), strict=True):
        (y, x), (from_y, from_x) = places[here], places[there]
        shuffled[y : y + h, x : x + w] = image[from_y : from_y + h, from_x : from_x + w]
    return shuffled


def tiled(image: U8, piece: U8) -> U8:
    """A piece over and over until the image is full."""
    rows, columns = -(-image.shape[0] // piece.shape[0]), -(-image.shape[1] // piece.shape[1])
    return np.tile(piece, (rows, columns))[: image.shape[0], : image.shape[1]]


def tiled_piece(image: U8, rng: Rng) -> U8:
    """A twelfth of it: structure that repeats."""
    height, width = image.shape
    h, w = height // 3, width // 4
    y, x = rng.integers(0, (height - h, width - w))
    return tiled(image, image[y : y + h, x : x + w])


def tiled_frame(image: U8, rng: Rng) -> U8:
    """The whole of it at half its size, four times."""
    return tiled(image, _resized(image, image.shape[1] // 2, image.shape[0] // 2))


def cropped(image: U8, top: float, left: float, share: float) -> U8:
    """A part of it, enlarged to the size of the whole."""
    height, width = image.shape
    y, x = round(top * height), round(left * width)
    part = image[y : y + round(share * height), x : x + round(share * width)]
    return _resized(part, width, height)


def stretched(image: U8, rng: Rng) -> U8:
    """The middle three quarters of the rows, stretched over all of them."""
    height, width = image.shape
    return _resized(image[height // 8 : -(height // 8)], width, height)


def fine_noise(image: U8, rng: Rng) -> U8:
    """White."""
    return rng.integers(0, 256, image.shape, np.uint8)


def soft_noise(image: U8, rng: Rng) -> U8:
    """Spots of a few pixels, at full contrast."""
    soft = cv2.GaussianBlur(rng.standard_normal(image.shape), (0, 0), 3 * _scale(image))
    return np.asarray(np.clip(GREY + 60 * soft / soft.std(), 0, 255), np.uint8)


def noise_blocks(image: U8, rng: Rng) -> U8:
    """Squares of 16 pixels."""
    height, width = image.shape
    side = round(16 * _scale(image))
    blocks = rng.integers(0, 256, (height // side + 1, width // side + 1), np.uint8)
    return np.asarray(blocks.repeat(side, 0).repeat(side, 1)[:height, :width])


def pasted(image: U8, onto: U8, scale: float, rng: Rng) -> U8:
    """All of it, smaller, somewhere on another image."""
    height, width = onto.shape
    h, w = round(scale * height), round(scale * width)
    y, x = rng.integers(0, (height - h + 1, width - w + 1))
    both = onto.copy()
    both[y : y + h, x : x + w] = _resized(image, w, h)
    return both


def tilted(image: U8, onto: U8, rng: Rng) -> U8:
    """All of it on another image, seen at an angle."""
    height, width = image.shape
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    inwards = np.sign(0.5 - corners) * rng.uniform(0.02, 0.25, (4, 2))
    size = np.array([width, height], np.float32)
    homography = cv2.getPerspectiveTransform(
        corners * size, np.asarray((corners + inwards) * size, np.float32)
    )
    seen = cv2.warpPerspective(image, homography, (width, height))
    inside = cv2.warpPerspective(np.full_like(image, 255), homography, (width, height))
    return np.asarray(np.where(inside > GREY, seen, onto), np.uint8)


def left_and_right(one: U8, other: U8) -> U8:
    """Half of each."""
    return np.hstack([one[:, : one.shape[1] // 2], other[:, one.shape[1] // 2 :]])


def top_and_bottom(one: U8, other: U8) -> U8:
    """Half of each."""
    return np.vstack([one[: len(one) // 2], other[len(one) // 2 :]])


def third_of_another(one: U8, other: U8) -> U8:
    """30 % of the columns are the other's."""
    column = round(0.7 * one.shape[1])
    return np.hstack([one[:, :column], other[:, column:]])


def blended(one: U8, other: U8) -> U8:
    """As if exposed twice."""
    return np.asarray(cv2.addWeighted(one, 0.5, other, 0.5, 0), np.uint8)


def fitted(image: U8, like: U8) -> U8:
    """As much of the middle as has the proportions of `like`, at its size."""
    height, width = like.shape
    share = min(image.shape[1] / width, image.shape[0] / height)
    h, w = round(share * height), round(share * width)
    y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return _resized(image[y : y + h, x : x + w], width, height)


def _scale(image: U8) -> float:
    return float(max(image.shape)) / REFERENCE_SIDE_PX


def _resized(image: U8, width: int, height: int) -> U8:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
