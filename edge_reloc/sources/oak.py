"""A Luxonis OAK camera by DepthAI 3: frames stamped by the device's clock, kept in step with
the host's steady one, at the middle of their exposure. Written from its documentation and held
against the names of depthai 3.12; it has never met a camera.
"""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import Any

import numpy as np

from ..errors import SourceError, missing_package
from .capture import Shot
from .options import DEFAULT_RATE_HZ, DEFAULT_SIZE, CameraOptions

SILENT_S = 3.0


class OakCapture:
    """An open camera. socket: which of the board's, such as CAM_B; "" for the first."""

    clock = "the camera's, in step with ours, at the middle of the exposure"

    def __init__(self, socket: str, options: CameraOptions, *, grey: bool) -> None:
        try:
            import depthai
        except ImportError:
            raise missing_package("depthai", "oak://", "oak") from None
        self._name = f"oak://{socket}"
        sockets: dict[str, Any] = depthai.CameraBoardSocket.__members__
        if socket and socket not in sockets:
            raise SourceError(f"{self._name}: expected one of {' '.join(sockets)}, or nothing")
        self._middle = depthai.CameraExposureOffset.MIDDLE
        self._number: int | None = None
        self._pipeline: Any = None
        width, height = options.size or DEFAULT_SIZE
        rate_hz = options.rate_hz or DEFAULT_RATE_HZ
        kind = depthai.ImgFrame.Type.GRAY8 if grey else depthai.ImgFrame.Type.BGR888i
        try:
            self._pipeline = depthai.Pipeline()
            node = self._pipeline.create(depthai.node.Camera)
            camera = node.build(sockets[socket]) if socket else node.build()
            if options.exposure_ms:
                sensitivity = round(options.gain or 400)
                camera.initialControl.setManualExposure(
                    timedelta(milliseconds=options.exposure_ms), sensitivity
                )
            output = camera.requestOutput((width, height), kind, fps=rate_hz)
            self._queue = output.createOutputQueue(maxSize=1, blocking=False)
            self._pipeline.start()
        except RuntimeError as error:
            self.release()
            raise SourceError(f"{self._name}: no OAK camera answers ({error})") from None
        self.about = f"OAK, {width}x{height}, {rate_hz:g} Hz"

    def read(self) -> Shot | None:
        """The newest frame."""
        try:
            frame = self._queue.get(timedelta(seconds=SILENT_S))
        except RuntimeError as error:
            raise SourceError(f"{self._name}: {error}") from None
        if frame is None:
            raise SourceError(f"{self._name}: no frame for {SILENT_S:g} s")
        before, self._number = self._number, frame.getSequenceNum()
        return Shot(
            image=np.array(frame.getCvFrame(), np.uint8),
            stamp_ns=frame.getTimestamp(self._middle) // timedelta(microseconds=1) * 1000,
            received_ns=time.monotonic_ns(),
            lost=0 if before is None else max(0, self._number - before - 1),
        )

    def release(self) -> None:
        """Stop the camera."""
        if self._pipeline is not None:
            with contextlib.suppress(RuntimeError):
                self._pipeline.stop()
            self._pipeline = None
