"""Whether an image that was not localised shows too little, or shows it too softly."""

from __future__ import annotations

import cv2
import numpy as np

from ..arrays import U8
from ..reasons import Reason

SIDE_PX = 320  # images are judged at this width, at which noise is mostly gone
COARSE_PX = 40
# Spread of grey levels at COARSE_PX: of 130 photos of six places 14 or more.
LITTLE = 6.0
# Share of the contrast that is finer than FINE_PX: of these photos with noise 0.13 or more, of
# those that were blurred by 4 pixels of 640 and are not of gravel 0.1 or less.
FINE_PX, SOFT = 2.0, 0.1


def explained(image: U8) -> Reason | None:
    """FEW_FEATURES or BLURRED; None where the image is clear. (H,W) or (H,W,3)."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height, width = image.shape[:2]
    small = _shrunk(image, min(SIDE_PX, width), width, height)
    if float(_shrunk(image, min(COARSE_PX, width), width, height).std()) < LITTLE:
        return Reason.FEW_FEATURES
    fine = small - cv2.GaussianBlur(small, (0, 0), FINE_PX)
    return Reason.BLURRED if float(fine.std() / small.std()) < SOFT else None


def _shrunk(image: U8, wide: int, width: int, height: int) -> np.ndarray:
    size = (wide, max(1, round(height * wide / width)))
    shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.float32)
