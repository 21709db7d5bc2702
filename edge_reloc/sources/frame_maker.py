"""Images made into frames: grey where asked, with the camera at their size."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ..arrays import U8
from ..errors import SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .frame_faults import FrameFaults
from .photo import load_photo
from .photo_size import PhotoSize

#: a calibration scaled up further than this, a side, is of another camera
SCALED_MOST = 8


class FrameMaker:
    """Makes a source's frames; without a calibration they have no camera.

    live: they are of a camera, which may freeze.
    """

    def __init__(self, calibration: Camera | None, *, grey: bool, live: bool = False) -> None:
        self._faults = FrameFaults(frozen=live)
        self._calibration, self._grey = calibration, grey
        self._last = calibration
        self._pixels_calibrated = calibration.width * calibration.height if calibration else 0
        self._most_pixels = 0

    def camera_at(self, width: int, height: int) -> Camera | None:
        """The camera at width x height; CameraError if the aspect differs."""
        last = self._last
        if self._calibration and last and (last.width, last.height) != (width, height):
            self._last = last = self._calibration.scaled_to(width, height)
        return last

    def check_size(self, size: PhotoSize, where: str = "") -> None:
        """Refuse by a header what would take more memory than the camera's images do.

        SourceError for more pixels than the larger of the calibration and the first photo
        have, and for the first one itself when it has `SCALED_MOST` times the calibration's
        a side; CameraError if the aspect differs.
        """
        if self._calibration is None:
            return
        most = self._most_pixels or SCALED_MOST**2 * self._pixels_calibrated
        if size.pixels > most:
            known = self._calibration if self._last is None else self._last
            raise SourceError(
                f"{where}{size} pixels by its header, too many for the camera of "
                f"{known.width}x{known.height}"
            )
        self.camera_at(size.width, size.height)

    def begin_with(self, size: PhotoSize) -> None:
        """Take the size of the first photo, which those after it must not exceed."""
        self.camera_at(size.width, size.height)
        self._most_pixels = max(size.pixels, self._pixels_calibrated)

    def frame(
        self,
        image: U8,
        t_ns: int,
        index: int,
        name: str | None = None,
        *,
        upright_turns: int = 0,
        received_ns: int | None = None,
    ) -> Frame:
        """The frame of an image (H,W) or (H,W,3) BGR; its number is its name."""
        if self._grey and image.ndim == 3:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        camera = self.camera_at(image.shape[1], image.shape[0])
        name = f"{index:06d}" if name is None else name
        return Frame(
            image=image,
            t_ns=t_ns,
            camera=camera,
            index=index,
            name=name,
            upright_turns=upright_turns,
            received_ns=received_ns,
            fault=self._faults.look(image, t_ns),
        )


def frame_of(image: Frame | U8 | str | Path, camera: Camera, *, grey: bool = True) -> Frame:
    """Whatever shows an image as a frame with a camera: the given one at its size, where it
    names none. grey: how a photo is read. Raises SourceError for a photo that cannot be read,
    or what is no image.
    """
    if not isinstance(image, Frame):
        name = str(image) if isinstance(image, (str, Path)) else ""
        photo = load_photo(name, grey) if name else None
        image = Frame(
            image=photo.image if photo else np.asarray(image),
            t_ns=time.monotonic_ns(),
            name=name,
            upright_turns=photo.upright_turns if photo else 0,
        )
    _check_pixels(image.image)
    if image.camera is not None:
        return image
    height, width = image.image.shape[:2]
    return replace(image, camera=camera.scaled_to(width, height))


def _check_pixels(pixels: U8) -> None:
    grey_or_bgr = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not pixels.size or not grey_or_bgr:
        raise SourceError(
            f"image: found {pixels.dtype} {pixels.shape}, expected uint8 (H,W) grey or (H,W,3) BGR"
        )
