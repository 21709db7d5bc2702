"""Frames that arrive by themselves: only the newest one is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import cv2
import numpy as np

from ..arrays import U8
from ..command_line.terminal import silent_decoders
from ..errors import CameraError, SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .frame_maker import FrameMaker
from .photo_size import PhotoSize

MOST_UNFIT = 100  # frames in a row, of a stream that has not changed for good
KINDS_TOLD = 8  # of frames that do not fit the camera
SHUTDOWN_S = 10.0  # longer than a network read may block


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


class LiveSource:
    """Frames of a camera or stream through a thread that never queues.

    The thread grabs as frames arrive and keeps the newest in one slot; a frame
    that is replaced before it was asked for counts in `dropped`, from the first
    request on: what passes while a map is opened is not lost. So do those that
    `lost` says were lost before the last grab, and those of a size that does not fit
    the camera, of which MOST_UNFIT in a row end the stream. At most three images are alive (one
    arriving, one waiting, one in use). t_ns is `time.monotonic_ns()` right after
    the grab. Frame.index counts arrivals, so a gap in it is a dropped frame.
    Iteration ends when the stream ends.
    """

    live = True

    def __init__(
        self,
        capture: Capture,
        name: str,
        camera: Camera | None = None,
        *,
        grey: bool = True,
        upright_turns: int = 0,
        lost: Callable[[], int] = lambda: 0,
    ) -> None:
        self._capture, self._name = capture, name
        self._lost = lost
        self._upright_turns = upright_turns
        self._maker = FrameMaker(camera, grey=grey)
        self.dropped = 0
        self.skipped: list[str] = []
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._asked = False
        self._ended = False
        self._unfit = 0  # frames in a row
        self._error: BaseException | None = None
        try:
            with silent_decoders():
                ok, image = capture.retrieve() if capture.grab() else (False, None)
            if not ok or image is None:
                raise SourceError(
                    f"{name}: opened, but it delivers no frame; check the cable, the picture "
                    f"size asked for, and that no other program holds it"
                )
            self.height, self.width = image.shape[:2]
            self._maker.check_size(PhotoSize(self.width, self.height), f"{name}: ")
        except BaseException:
            capture.release()
            raise
        self._thread = threading.Thread(target=self._watch, name=f"source {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._changed:
            self._asked = True
            self._changed.wait_for(lambda: self._slot is not None or self._ended)
            frame, self._slot = self._slot, None
            if frame is not None:
                return frame
            if self._error is not None:
                raise self._error
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and release the camera; iteration ends."""
        with self._changed:
            self._ended = True
            self._slot = None
            self._changed.notify_all()
        self._thread.join(SHUTDOWN_S)

    def _watch(self) -> None:
        index = 0
        try:
            while not self._ended and self._capture.grab():
                t_ns = time.monotonic_ns()
                lost = self._lost()
                index += lost
                self._count(lost)
                with silent_decoders():
                    ok, image = self._capture.retrieve()
                if ok and image is not None:
                    self._take(np.asarray(image, dtype=np.uint8), t_ns, index)
                index += 1
        except cv2.error as error:  # such as a frame too large for OpenCV
            self._error = SourceError(f"{self._name}: a frame cannot be decoded ({error.err})")
        except Exception as error:  # told to whoever asks for the next frame
            self._error = error
        finally:
            # Released here: a capture must not be released while it grabs.
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, image: U8, t_ns: int, index: int) -> None:
        """Offer a frame; one that does not fit the camera is left out, and said once a kind.

        CameraError where the stream seems to have changed for good.
        """
        try:
            frame = self._maker.frame(image, t_ns, index, upright_turns=self._upright_turns)
        except CameraError as error:
            self._unfit += 1
            if self._unfit > MOST_UNFIT:
                raise
            self._count(1)
            if len(self.skipped) < KINDS_TOLD and not any(str(error) in s for s in self.skipped):
                self.skipped.append(f"frame {index} and those like it: {error}")
            return
        self._unfit = 0
        self._offer(frame)

    def _count(self, missing: int) -> None:
        if missing and self._asked:
            with self._changed:
                self.dropped += missing

    def _offer(self, frame: Frame) -> None:
        with self._changed:
            if self._slot is not None and self._asked:
                self.dropped += 1
            if not self._ended:
                self._slot = frame
                self._changed.notify_all()


class PacedCapture:
    """A capture slowed to its frame rate: a file arrives like a camera."""

    def __init__(self, capture: Capture, rate_hz: float) -> None:
        self._capture = capture
        self._period_s = 1.0 / rate_hz
        self._due_s = time.monotonic()

    def grab(self) -> bool:
        """Wait for the next frame's turn, then grab it."""
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._due_s += self._period_s
        return self._capture.grab()

    def retrieve(self) -> tuple[bool, Any]:
        return self._capture.retrieve()

    def release(self) -> None:
        self._capture.release()
