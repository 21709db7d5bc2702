"""Images made into frames: grey where asked, with the camera at their size."""

from __future__ import annotations

import cv2
import numpy as np

from ..arrays import U8
from ..geometry.camera import Camera
from ..structs import Frame


class FrameMaker:
    """Makes a source's frames; without a calibration they have no camera."""

    def __init__(self, calibration: Camera | None, *, grey: bool) -> None:
        self._calibration, self._grey = calibration, grey
        self._last = calibration

    def camera_at(self, width: int, height: int) -> Camera | None:
        """The camera at width x height; CameraError if the aspect differs."""
        last = self._last
        if self._calibration and last and (last.width, last.height) != (width, height):
            self._last = last = self._calibration.scaled_to(width, height)
        return last

    def frame(self, image: U8, t_ns: int, index: int, name: str | None = None) -> Frame:
        """The frame of an image (H,W) or (H,W,3) BGR; its number is its name."""
        if self._grey and image.ndim == 3:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        camera = self.camera_at(image.shape[1], image.shape[0])
        name = f"{index:06d}" if name is None else name
        return Frame(image=image, t_ns=t_ns, camera=camera, index=index, name=name)
