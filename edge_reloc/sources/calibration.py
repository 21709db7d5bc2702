"""The calibration at the size of the frames."""

from __future__ import annotations

from ..geometry.camera import Camera

GUESSED_FOCAL = 1.2  # of the longer side, about 45 degrees: the guess COLMAP makes


class CameraFit:
    """Gives frames of any size the camera that fits them.

    Without a calibration it gives a guessed pinhole (rms_px None): enough for
    a program that ignores the camera, such as calibration, not for poses.
    """

    def __init__(self, camera: Camera | None) -> None:
        self._given = camera
        self._last = camera

    def at(self, width: int, height: int) -> Camera:
        """The camera at width x height; CameraError if the aspect differs."""
        last = self._last
        if last is None or (last.width, last.height) != (width, height):
            self._last = last = self._scaled(width, height)
        return last

    def _scaled(self, width: int, height: int) -> Camera:
        if self._given is not None:
            return self._given.scaled_to(width, height)
        focal = GUESSED_FOCAL * max(width, height)
        return Camera(
            model="pinhole",
            width=width,
            height=height,
            fx=focal,
            fy=focal,
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
        )
