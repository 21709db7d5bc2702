"""An Intel RealSense camera by librealsense: its left infrared image for grey, which has a
global shutter on most models, otherwise colour. Written from its documentation and held against
the names of pyrealsense2; it has never met a camera.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from ..errors import SourceError, missing_package
from .capture import Shot
from .options import DEFAULT_RATE_HZ, DEFAULT_SIZE, CameraOptions

SILENT_MS = 3000


class RealsenseCapture:
    """An open camera. serial: its number, "" for the first."""

    clock = "the camera's, set to ours"

    def __init__(self, serial: str, options: CameraOptions, *, grey: bool) -> None:
        try:
            import pyrealsense2
        except ImportError:
            raise missing_package("pyrealsense2", "realsense://", "realsense") from None
        self._name, self._grey, self._rs = f"realsense://{serial}", grey, pyrealsense2
        rs: Any = pyrealsense2
        width, height = options.size or DEFAULT_SIZE
        rate_hz = round(options.rate_hz or DEFAULT_RATE_HZ)
        asked = rs.config()
        if serial:
            asked.enable_device(serial)
        if grey:
            asked.enable_stream(rs.stream.infrared, 1, width, height, rs.format.y8, rate_hz)
        else:
            asked.enable_stream(rs.stream.color, width, height, rs.format.bgr8, rate_hz)
        self._number: int | None = None
        self._pipeline = rs.pipeline()
        try:
            device = self._pipeline.start(asked).get_device()
            for sensor in device.query_sensors():
                _set(sensor, rs.option.global_time_enabled, 1)
                if options.exposure_ms:
                    _set(sensor, rs.option.enable_auto_exposure, 0)
                    _set(sensor, rs.option.exposure, 1000 * options.exposure_ms)
                if options.gain is not None:
                    _set(sensor, rs.option.gain, options.gain)
        except RuntimeError as error:
            self.release()
            raise SourceError(f"{self._name}: no RealSense camera answers ({error})") from None
        name = device.get_info(rs.camera_info.name)
        self.about = f"{name}, {width}x{height} {'infrared' if grey else 'colour'}, {rate_hz} Hz"

    def read(self) -> Shot | None:
        """The newest frame."""
        try:
            frames = self._pipeline.wait_for_frames(SILENT_MS)
        except RuntimeError as error:
            raise SourceError(f"{self._name}: {error}") from None
        frame = frames.get_infrared_frame(1) if self._grey else frames.get_color_frame()
        received_ns = time.monotonic_ns()
        before, self._number = self._number, frame.get_frame_number()
        return Shot(
            image=np.array(frame.get_data(), np.uint8),
            stamp_ns=self._stamp_ns(frame, received_ns),
            received_ns=received_ns,
            lost=0 if before is None else max(0, self._number - before - 1),
        )

    def release(self) -> None:
        """Stop the camera."""
        with contextlib.suppress(RuntimeError):
            self._pipeline.stop()

    def _stamp_ns(self, frame: Any, received_ns: int) -> int:
        """Its time, which is of the wall clock, in monotonic ns."""
        if frame.get_frame_timestamp_domain() == self._rs.timestamp_domain.hardware_clock:
            self.clock = "arrival (the camera's clock is not set to ours)"
            return received_ns
        age_ns: int = time.time_ns() - round(frame.get_timestamp() * 1e6)
        return received_ns - age_ns


def _set(sensor: Any, option: Any, value: float) -> None:
    if sensor.supports(option):
        sensor.set_option(option, value)
