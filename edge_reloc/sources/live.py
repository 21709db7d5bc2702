"""Frames that arrive by themselves: only the newest one is kept, and what goes away comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import cv2

from ..errors import CameraError, SourceError
from ..geometry.camera import Camera
from ..reasons import Fault, Reason
from ..structs import Frame
from .capture import Capture, Shot
from .frame_maker import FrameMaker
from .freshness import wait_ns
from .photo_size import PhotoSize

MOST_UNFIT = 100  # frames in a row, of a stream that has not changed for good
KINDS_TOLD = 8  # of frames that do not fit the camera
SHUTDOWN_S = 10.0  # longer than a read may block
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0  # between two tries to open what is gone
PACE = 0.2  # weight of the last period in what is usual
STALE_S = 1.0  # without a frame: told, though the camera may only be slow


class LiveSource:
    """Frames of a camera or stream through a thread that never queues.

    The thread reads frames as they arrive and keeps the newest in one slot; whoever asks when
    the next one is nearly there gets that. A frame that is replaced before it was asked for
    counts in `dropped`, from the first request on: what passes while a map is opened is not
    lost. So do those that the capture lost, and those of a size that does not fit the camera.
    At most three images are alive (one arriving, one waiting, one in use). Frame.t_ns is the
    capture's stamp less the camera's latency. Frame.index counts arrivals, so a gap in it is
    a dropped frame.

    A capture that ends, fails or falls silent is told in `fault` and opened again, at first
    soon and then every LONGEST_PAUSE_S, for as long as it takes; frames that do not fit the
    camera are a fault too. exit_on_end: iteration ends there instead, with an error unless the
    stream just ended.
    """

    live = True

    def __init__(
        self,
        open_capture: Callable[[], Capture],
        name: str,
        camera: Camera | None = None,
        *,
        grey: bool = True,
        exit_on_end: bool = False,
    ) -> None:
        self._open, self._name, self._exit_on_end = open_capture, name, exit_on_end
        self._maker = FrameMaker(camera, grey=grey, live=True)
        latency_ms = camera.latency_ms if camera else None
        self._latency_ns = None if latency_ms is None else round(latency_ms * 1e6)
        self.dropped = 0
        self.skipped: list[str] = []
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._asked = False
        self._ended = False
        self._unfit = 0  # frames in a row
        self._error: BaseException | None = None
        self._fault: Fault | None = None
        self._index = self._last_ns = 0
        self._period_ns = 0.0  # between frames of late
        self._capture, first = self._opened()
        try:
            self.height, self.width = first.image.shape[:2]
            self._maker.check_size(PhotoSize(self.width, self.height), f"{name}: ")
        except BaseException:
            self._capture.release()
            raise
        self.about = self._told_of(self._capture)
        self._received_ns = time.monotonic_ns()
        self._thread = threading.Thread(target=self._watch, name=f"source {name}", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the stream now, None when frames come."""
        fault, received_ns = self._fault, self._received_ns
        silent_s = (time.monotonic_ns() - received_ns) * 1e-9
        if fault is None and silent_s > STALE_S and not self._ended:
            text = f"{self._name}: no frame for {silent_s:.1f} s"
            return Fault(reason=Reason.STALE, text=text, since_ns=received_ns)
        return fault

    @property
    def ended(self) -> bool:
        """No frame will come any more."""
        return self._ended and self._slot is None

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = self.wait(None)
        if frame is None:
            raise StopIteration
        return frame

    def wait(self, timeout_s: float | None) -> Frame | None:
        """The newest frame; None when none came in time, for which see `fault`, or at the end.

        timeout_s: None for as long as it takes. Raises what ended the stream.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._asked = True
            self._changed.wait_for(lambda: self._slot is not None or self._ended, timeout_s)
            self._wait_for_a_younger(end_s)
            frame, self._slot = self._slot, None
            if frame is None and self._error is not None:
                raise self._error
        return frame

    def _wait_for_a_younger(self, end_s: float | None) -> None:
        """Where the next frame is nearly there."""
        here = self._slot
        if here is None or here.received_ns is None:
            return
        waited_ns, index = time.monotonic_ns() - here.received_ns, here.index
        del here  # it may make room
        wait_s = wait_ns(waited_ns, self._period_ns) * 1e-9
        if end_s is not None:
            wait_s = min(wait_s, end_s - time.monotonic())
        if wait_s > 0:
            self._changed.wait_for(lambda: self._slot is None or self._slot.index > index, wait_s)

    def close(self) -> None:
        """Stop the thread and release the camera; iteration ends."""
        with self._changed:
            self._ended = True
            self._slot = None
            self._changed.notify_all()
        self._thread.join(SHUTDOWN_S)

    def _watch(self) -> None:
        """Whatever happens, until the source is closed."""
        try:
            while not self._ended:
                why = self._take_all()
                # Released here: a capture must not be released while it is read.
                self._capture.release()
                if self._ended or self._exit_on_end:
                    break
                self._gone(why)
                self._come_back()
        except Exception as error:  # told to whoever asks for the next frame
            self._error = error
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take_all(self) -> str:
        """Offer frames until the capture ends or fails, and why it did."""
        try:
            while not self._ended:
                shot = self._read(self._capture)
                if shot is None:
                    return "the stream ended"
                self._take(shot)
        except SourceError as error:
            if self._exit_on_end:
                raise
            return str(error)
        return "closed"

    def _opened(self) -> tuple[Capture, Shot]:
        """A capture and its first frame. SourceError where it has none."""
        capture = self._open()
        try:
            first = self._read(capture)
            if first is None:
                raise SourceError(
                    f"{self._name}: opened, but it delivers no frame; check the cable, the picture "
                    f"size asked for, and that no other program holds it"
                )
        except BaseException:
            capture.release()
            raise
        return capture, first

    def _read(self, capture: Capture) -> Shot | None:
        try:
            return capture.read()
        except cv2.error as error:  # such as a frame too large for OpenCV
            raise SourceError(f"{self._name}: a frame cannot be decoded ({error.err})") from None

    def _gone(self, why: str) -> None:
        why = why.removeprefix(f"{self._name}: ").partition("; ")[0]  # without the cure
        text = f"{self._name}: gone ({why}); opening it again"
        since_ns = self._received_ns
        self._fault = Fault(reason=Reason.CAMERA_GONE, text=text, since_ns=since_ns)

    def _come_back(self) -> None:
        """Open the capture again and take its first frame, however long that takes."""
        pause_s = FIRST_PAUSE_S
        while not self._ended:
            with self._changed:
                if self._changed.wait_for(lambda: self._ended, pause_s):
                    return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                self._capture, first = self._opened()
            except SourceError as error:
                self._gone(str(error))
                continue
            self.about = self._told_of(self._capture)
            self._fault = None
            self._take(first)
            return

    def _take(self, shot: Shot) -> None:
        """Offer a frame; one that does not fit the camera is left out, and said once a kind."""
        gap_ns = (shot.received_ns - self._received_ns) / (shot.lost + 1)
        if gap_ns < STALE_S * 1e9:
            self._period_ns += PACE * (gap_ns - self._period_ns) if self._period_ns else gap_ns
        self._received_ns = shot.received_ns
        self._index += shot.lost
        self._count(shot.lost)
        index, self._index = self._index, self._index + 1
        delay_ns = shot.delay_ns if self._latency_ns is None else self._latency_ns
        stamp_ns = min(shot.stamp_ns, shot.received_ns)  # nothing comes before it was
        self._last_ns = t_ns = max(stamp_ns - delay_ns, self._last_ns + 1)
        try:
            frame = self._maker.frame(
                shot.image,
                t_ns,
                index,
                upright_turns=shot.upright_turns,
                received_ns=shot.received_ns,
            )
        except CameraError as error:
            self._leave_out(index, error)
            return
        if self._unfit:
            self._unfit, self._fault = 0, None
        self._offer(frame)

    def _leave_out(self, index: int, error: CameraError) -> None:
        """A frame of another size: CameraError where that ends the source."""
        self._unfit += 1
        if self._exit_on_end and self._unfit > MOST_UNFIT:
            raise error
        self._count(1)
        if self._fault is None:
            text = f"{self._name}: its frames do not fit the camera ({error})"
            since_ns = time.monotonic_ns()
            self._fault = Fault(reason=Reason.CAMERA_GONE, text=text, since_ns=since_ns)
        if len(self.skipped) < KINDS_TOLD and not any(str(error) in s for s in self.skipped):
            self.skipped.append(f"frame {index} and those like it: {error}")

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

    def _told_of(self, capture: Capture) -> str:
        offset = "" if self._latency_ns is None else f" less {self._latency_ns * 1e-6:g} ms"
        return f"{self._name}: {capture.about}; times: {capture.clock}{offset}"
