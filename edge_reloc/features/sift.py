"""RootSIFT through OpenCV: works everywhere, needs no weights.

Lowe, IJCV 2004; Arandjelović and Zisserman, CVPR 2012 (RootSIFT).
"""

from __future__ import annotations

import cv2
import numpy as np

from ..memory.arena import keep_freed_memory
from ..structs import Features, Frame
from .spec import FeatureSpec

# OpenCV doubles the image and keeps, as float32, six smoothed versions and their five
# differences at that size, and again at every half of it; and two images to make them.
PYRAMID_BYTES = 4 * 4 * (6 + 5 + 2) * 4 // 3


class SiftExtractor:
    """Keypoints by response, one per place; descriptors 128 RootSIFT.

    width, height: of the frames, to tell what OpenCV will take for one.
    """

    dim = 128
    regresses = False
    device_descriptors = 0

    def __init__(self, spec: FeatureSpec, width: int, height: int) -> None:
        shrink = min(spec.max_side / max(width, height), 1.0)
        self.borrowed_bytes = int(PYRAMID_BYTES * width * height * shrink * shrink)
        keep_freed_memory()  # taking the pyramid anew costs a third of the frame
        self._keypoints = spec.keypoints
        self._max_side = spec.max_side
        # Without the precise upscale OpenCV's positions are a quarter pixel off, in x and y.
        self._sift = cv2.SIFT_create(
            nfeatures=spec.keypoints, contrastThreshold=0.02, enable_precise_upscale=True
        )

    def extract(self, frame: Frame, out: Features) -> None:
        """Fill xy_px, score and descriptor, best response first."""
        image = frame.image
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        height, width = image.shape[:2]
        scale = self._max_side / max(height, width)
        if scale < 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        keypoints, descriptors = self._sift.detectAndCompute(image, None)
        out.n = min(len(keypoints), out.capacity)
        if out.n == 0:
            return
        response = np.array([k.response for k in keypoints], np.float32)
        order = np.argsort(-response, kind="stable")[: out.n]
        xy = np.array([keypoints[i].pt for i in order], np.float32)
        sx, sy = width / image.shape[1], height / image.shape[0]
        out.xy_px[: out.n, 0] = (xy[:, 0] + 0.5) * sx - 0.5
        out.xy_px[: out.n, 1] = (xy[:, 1] + 0.5) * sy - 0.5
        out.score[: out.n] = response[order]
        root = descriptors[order]
        root /= np.maximum(root.sum(axis=1, keepdims=True), 1e-9)
        np.sqrt(root, out=out.descriptor[: out.n])
