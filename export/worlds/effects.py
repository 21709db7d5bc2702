"""What a real camera does to a perfect picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from edge_reloc.arrays import F32, F64, U8


@dataclass(frozen=True, kw_only=True)
class CameraEffects:
    """Strength of each fault; zero switches it off."""

    lens_blur_px: float = 0.6  #: sigma of the lens
    vignetting: float = 0.12  #: share of light lost in the corners
    exposure: float = 0.0  #: spread of the brightness from picture to picture
    tint: float = 0.0  #: spread of the colours' balance
    noise: float = 0.0  #: sigma in grey levels


def apply_effects(
    image_bgr: U8,
    effects: CameraEffects,
    rng: Generator,
    motion_px: F64 | None = None,
) -> U8:
    """The picture (H,W,3) as the camera would deliver it.

    motion_px (2,): how far the picture moves during the exposure; the blur is
    centred, so the pose of mid-exposure stays the true one.
    """
    image = image_bgr.astype(np.float32)
    if motion_px is not None:
        image = _smear(image, motion_px)
    if effects.lens_blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), effects.lens_blur_px)
    height, width = image.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    image *= (1 - effects.vignetting * 0.5 * (x * x + y * y))[..., None]
    gain = np.exp(effects.exposure * rng.standard_normal() + effects.tint * rng.standard_normal(3))
    image *= gain.astype(np.float32)
    if effects.noise > 0:
        image += effects.noise * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(image + 0.5, 0, 255), np.uint8)


def _smear(image: F32, motion_px: F64) -> F32:
    """Mean of the picture over a centred straight motion."""
    length = float(np.linalg.norm(motion_px))
    if length < 0.2:
        return image
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for step in np.linspace(-0.5, 0.5, 64):
        x, y = np.array(motion_px) * step + reach
        left, top = int(x), int(y)
        fx, fy = x - left, y - top
        kernel[top : top + 2, left : left + 2] += np.outer([1 - fy, fy], [1 - fx, fx])
    return np.asarray(cv2.filter2D(image, -1, (kernel / kernel.sum()).astype(np.float32)))
