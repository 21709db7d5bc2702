"""Altered copies of mapping photos: turned, scaled, tilted, darker, blurred."""

from __future__ import annotations

import cv2
import numpy as np

from edge_reloc.arrays import F64, U8


def altered_copy(image: U8, generator: np.random.Generator) -> tuple[U8, F64]:
    """A copy of the same size, and the homography (3,3) photo_from_copy."""
    height, width = image.shape[:2]
    copy_from_photo = random_warp(width, height, generator)
    altered = cv2.warpPerspective(image, copy_from_photo, (width, height), flags=cv2.INTER_AREA)
    photo_from_copy = np.asarray(np.linalg.inv(copy_from_photo), np.float64)
    return random_light(np.asarray(altered, np.uint8), generator), photo_from_copy


def published_copy(image: U8, generator: np.random.Generator) -> tuple[U8, F64]:
    """`altered_copy` as ACE's: turned by 15 degrees at most, 2/3 to 3/2 as large, 10% in light."""
    height, width = image.shape[:2]
    angle, scale = (
        np.radians(generator.uniform(-15, 15)),
        np.exp(generator.uniform(-1, 1) * np.log(1.5)),
    )
    middle = np.array([width - 1, height - 1]) / 2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    copy_from_photo = np.eye(3)
    copy_from_photo[:2, :2], copy_from_photo[:2, 2] = turn, middle - turn @ middle
    moved = cv2.warpPerspective(image, copy_from_photo, (width, height), flags=cv2.INTER_AREA)
    brightness, contrast = generator.uniform(0.9, 1.1, 2)
    values = moved.astype(np.float32) * np.float32(brightness)
    values = (values - values.mean()) * np.float32(contrast) + values.mean()
    altered = np.asarray(np.clip(values, 0, 255), np.uint8)
    return altered, np.asarray(np.linalg.inv(copy_from_photo), np.float64)


#: how copies of mapping photos are altered, by name
COPIES = {"strong": altered_copy, "ace": published_copy}


def random_warp(width: int, height: int, generator: np.random.Generator) -> F64:
    """Homography (3,3), copy from photo: turn, scale, shift and tilt about the centre."""
    angle = generator.normal() * 0.12
    scale = np.exp(generator.uniform(np.log(0.65), np.log(1.5)))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    tilt = generator.uniform(-0.25, 0.25, 2) / max(width, height)
    shift = generator.uniform(-0.1, 0.1, 2) * (width, height)
    turn = np.array([[c, -s, shift[0]], [s, c, shift[1]], [*tilt, 1.0]])
    centre = np.array([[1.0, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    return np.asarray(centre @ turn @ np.linalg.inv(centre))


def random_light(image: U8, generator: np.random.Generator) -> U8:
    """Gamma, contrast, blur and noise, each by chance."""
    level = np.linspace(0.0, 1.0, 256, dtype=np.float32) ** np.exp(generator.normal() * 0.35)
    level = (level - 0.5) * generator.uniform(0.6, 1.2) + 0.5 + generator.uniform(-0.1, 0.1)
    values = level.astype(np.float32)[image]
    if generator.random() < 0.4:
        length = int(generator.integers(2, 8))
        kernel = np.zeros((length, length), np.float32)
        if generator.random() < 0.5:  # the camera moves
            kernel[length // 2] = 1.0 / length
            kernel = kernel if generator.random() < 0.5 else np.ascontiguousarray(kernel.T)
        else:
            kernel[:] = 1.0 / length**2
        values = cv2.filter2D(values, -1, kernel)
    noise = generator.standard_normal(values.shape, dtype=np.float32)
    values += noise * np.float32(generator.uniform(0, 0.03))
    return np.asarray(np.clip(255.0 * values, 0, 255), np.uint8)
