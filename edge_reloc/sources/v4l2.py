"""Cameras by Video4Linux2 itself: the driver's buffers, its times, and grey as it lies there.

Without a package in between: the one that is well kept (linuxpy) is under the GPL-3.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..arrays import U8
from ..command_line.terminal import silent_decoders
from ..errors import SourceError
from . import v4l2_kernel as kernel
from .capture import Shot
from .decoding import STRETCH
from .options import DEFAULT_RATE_HZ, DEFAULT_SIZE, CameraOptions
from .with_opencv import cameras_present

BUFFERS = 4  # one that fills, one that waits, one that is read, and one for a late thread
OLDEST_NS = 2_000_000_000  # a frame on arrival: its stamp is of another clock
SILENT_S = 3.0  # without a frame: the camera is gone, whatever it says
NEAR_RATE = 0.9  # of the rate asked for, that another format need not be looked for


@dataclass(frozen=True)
class Layout:
    """How pixels of a format lie in a buffer."""

    #: bytes from one pixel's grey to the next one's, and before the first
    step: int
    first: int
    #: rows of a buffer for two rows of the image
    rows: int
    #: OpenCV's conversion to BGR
    to_bgr: int


#: what can be read, cheapest first; MJPG is decoded
LAYOUTS = {
    "GREY": Layout(1, 0, 2, cv2.COLOR_GRAY2BGR),
    "NV12": Layout(1, 0, 3, cv2.COLOR_YUV2BGR_NV12),
    "YU12": Layout(1, 0, 3, cv2.COLOR_YUV2BGR_I420),
    "YUYV": Layout(2, 0, 2, cv2.COLOR_YUV2BGR_YUYV),
    "UYVY": Layout(2, 1, 2, cv2.COLOR_YUV2BGR_UYVY),
}
JPEG = ("MJPG", "JPEG")


@dataclass(frozen=True, kw_only=True)
class Mode:
    """What a driver agreed to."""

    width: int
    height: int
    letters: str
    bytes_per_line: int
    limited_range: bool
    #: 0 for unknown
    rate_hz: float

    @property
    def text(self) -> str:
        rate = f"{self.rate_hz:g} Hz" if self.rate_hz else "rate unknown"
        return f"{self.width}x{self.height} {self.letters}, {rate}"


@dataclass(frozen=True)
class System:
    """The calls into the kernel, which a test can stand in for."""

    open: Callable[[str, int], int] = os.open
    close: Callable[[int], None] = os.close
    ioctl: Callable[[int, int, Any], Any] = fcntl.ioctl
    mmap: Callable[..., Any] = mmap.mmap
    select: Callable[..., Any] = select.select
    now_ns: Callable[[], int] = time.monotonic_ns


SYSTEM = System()


class V4l2Capture:
    """An open camera. grey: (H,W), otherwise (H,W,3) BGR.

    `read` passes over all frames that wait but the newest. Raises SourceError for what is no
    camera, for formats that cannot be read, and for sizes the camera does not have.
    """

    def __init__(
        self, path: Path, options: CameraOptions, *, grey: bool, system: System = SYSTEM
    ) -> None:
        self._path, self._grey, self._system = path, grey, system
        self._buffers: list[Any] = []
        self._sequence: int | None = None
        try:
            self._device = system.open(str(path), os.O_RDWR | os.O_NONBLOCK)
        except FileNotFoundError:
            raise SourceError(f"{path} does not exist; {cameras_present()}") from None
        except OSError as error:
            raise SourceError(
                f"{path}: it is there but cannot be opened ({error.strerror}); {cameras_present()}"
            ) from None
        try:
            name = self._check()
            self._mode = self._negotiate(options)
            self._exposure_ns = self._set_controls(options)
            self._start()
        except OSError as error:
            self.release()
            in_use = " (in use by another program)" if error.errno == errno.EBUSY else ""
            raise SourceError(f"{path}: {error.strerror}{in_use}") from None
        except BaseException:
            self.release()
            raise
        exposure = f", exposure {self._exposure_ns * 1e-6:g} ms" if self._exposure_ns else ""
        self.about = f"{name}, {self._mode.text}{exposure}"
        self.clock = "the driver's"

    def read(self) -> Shot | None:
        """The newest frame."""
        until_s = time.monotonic() + SILENT_S
        lost = 0
        while True:
            buffer, passed = self._newest(until_s)
            lost += passed + self._gap(buffer.sequence)
            try:
                whole = not buffer.flags & kernel.FLAG_ERROR
                image = self._image(buffer) if whole else None
            finally:
                self._give(buffer)
            if image is not None:
                return self._shot(image, buffer, lost)
            lost += 1

    def release(self) -> None:
        """Stop the camera and give its buffers back."""
        if self._device < 0:
            return
        with contextlib.suppress(OSError):
            self._call(kernel.STREAMOFF, ctypes.c_int(kernel.CAPTURE))
        for buffer in self._buffers:
            buffer.close()
        self._system.close(self._device)
        self._device, self._buffers = -1, []

    def _call(self, number: int, what: Any) -> Any:
        self._system.ioctl(self._device, number, what)
        return what

    def _check(self) -> str:
        """The camera's name; SourceError where it is none."""
        found = self._call(kernel.QUERYCAP, kernel.Capability())
        has_own = found.capabilities & kernel.CAP_DEVICE_CAPS
        caps = found.device_caps if has_own else found.capabilities
        if not (caps & kernel.CAP_VIDEO_CAPTURE and caps & kernel.CAP_STREAMING):
            raise SourceError(
                f"{self._path}: no camera that hands over pictures by itself (an output, a "
                f"camera's metadata, or a sensor behind a media controller); {cameras_present()}"
            )
        return str(found.card.decode("utf-8", "replace"))

    def _negotiate(self, options: CameraOptions) -> Mode:
        """The first format that has the size at nearly the rate, else the fastest."""
        offered = self._offered()
        known = [letters for letters in (*LAYOUTS, *JPEG) if letters in offered]
        if options.pixel_format:
            known = [options.pixel_format] if options.pixel_format in known else []
        if not known:
            wanted = options.pixel_format or "one of " + " ".join((*LAYOUTS, *JPEG))
            raise SourceError(
                f"{self._path}: offers {' '.join(offered) or 'no format'}, expected {wanted}"
            )
        rate_hz = options.rate_hz or DEFAULT_RATE_HZ
        best: Mode | None = None
        for letters in known:
            mode = self._set_format(letters, options.size, rate_hz)
            fits = options.size is None or (mode.width, mode.height) == options.size
            if mode.letters != letters or (best is not None and not fits):
                continue
            if best is None or mode.rate_hz > best.rate_hz:
                best = mode
            if fits and mode.rate_hz >= NEAR_RATE * rate_hz:
                break
        if best is None:
            raise SourceError(f"{self._path}: takes none of the formats that it offers")
        return self._set_format(best.letters, (best.width, best.height), rate_hz)

    def _offered(self) -> list[str]:
        found: list[str] = []
        while True:
            entry = kernel.FormatDescription(index=len(found), type=kernel.CAPTURE)
            try:
                self._call(kernel.ENUM_FMT, entry)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return found
                raise
            found.append(kernel.four_letters(entry.pixelformat))

    def _set_format(self, letters: str, size: tuple[int, int] | None, rate_hz: float) -> Mode:
        """Ask for a format; what the driver makes of it."""
        width, height = size or DEFAULT_SIZE
        asked = kernel.Format(
            type=kernel.CAPTURE,
            width=width,
            height=height,
            pixelformat=kernel.code_of(letters),
            field=kernel.ANY_FIELD,
        )
        got = self._call(kernel.S_FMT, asked)
        full = got.quantization == kernel.FULL_RANGE or (
            got.quantization != kernel.LIMITED_RANGE and got.colorspace == kernel.COLORSPACE_JPEG
        )
        found = kernel.four_letters(got.pixelformat)
        return Mode(
            width=got.width,
            height=got.height,
            letters=found,
            bytes_per_line=got.bytesperline,
            limited_range=not full and found not in ("GREY", *JPEG),
            rate_hz=self._set_rate(rate_hz),
        )

    def _set_rate(self, rate_hz: float) -> float:
        """Ask for frames a second; what the driver makes of it, 0 where it does not tell."""
        try:
            rate = self._call(kernel.G_PARM, kernel.Rate(type=kernel.CAPTURE))
            if rate.capability & kernel.CAP_TIMEPERFRAME:
                rate.numerator, rate.denominator = 1000, round(1000 * rate_hz)
                self._call(kernel.S_PARM, rate)
        except OSError:
            return 0.0
        return rate.denominator / rate.numerator if rate.numerator else 0.0

    def _set_controls(self, options: CameraOptions) -> int:
        """Fix focus, gain and exposure where asked; the exposure in ns, 0 for unknown."""
        if options.gain is not None:
            self._control("gain", kernel.GAIN, round(options.gain))
        if options.hold_focus or options.focus is not None:
            self._control("autofocus", kernel.FOCUS_AUTO, 0)
        if options.focus is not None:
            self._control("focus", kernel.FOCUS_ABSOLUTE, round(options.focus))
        if options.exposure_ms is None:
            return 0
        self._control("exposure", kernel.EXPOSURE_AUTO, kernel.EXPOSURE_MANUAL)
        units = max(1, round(options.exposure_ms * 1e6 / kernel.EXPOSURE_UNIT_NS))
        self._control("exposure", kernel.EXPOSURE_ABSOLUTE, units)
        return units * kernel.EXPOSURE_UNIT_NS

    def _control(self, name: str, number: int, value: int) -> None:
        try:
            self._call(kernel.S_CTRL, kernel.Control(id=number, value=value))
        except OSError as error:
            raise SourceError(
                f"{self._path}: its {name} cannot be set to {value} ({error.strerror}); see "
                f"'v4l2-ctl --list-ctrls' for what it has"
            ) from None

    def _start(self) -> None:
        asked = kernel.RequestBuffers(count=BUFFERS, type=kernel.CAPTURE, memory=kernel.MMAP)
        for index in range(self._call(kernel.REQBUFS, asked).count):
            buffer = self._call(kernel.QUERYBUF, self._buffer(index))
            self._buffers.append(
                self._system.mmap(self._device, buffer.length, offset=buffer.offset)
            )
            self._give(buffer)
        self._call(kernel.STREAMON, ctypes.c_int(kernel.CAPTURE))

    def _buffer(self, index: int = 0) -> kernel.Buffer:
        return kernel.Buffer(index=index, type=kernel.CAPTURE, memory=kernel.MMAP)

    def _newest(self, until_s: float) -> tuple[kernel.Buffer, int]:
        """The buffer filled last, and how many before it were given back unread."""
        newest, passed = self._taken(), 0
        while newest is None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise SourceError(f"{self._path}: no frame for {SILENT_S:g} s")
            self._system.select([self._device], [], [], left_s)
            newest = self._taken()
        while (newer := self._taken()) is not None:
            self._give(newest)
            passed += 1 + self._gap(newest.sequence)
            newest = newer
        return newest, passed

    def _taken(self) -> kernel.Buffer | None:
        """A filled buffer; None where none waits. SourceError for a camera that is gone."""
        try:
            buffer: kernel.Buffer = self._call(kernel.DQBUF, self._buffer())
        except BlockingIOError:
            return None
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from None
        return buffer

    def _give(self, buffer: kernel.Buffer) -> None:
        try:
            self._call(kernel.QBUF, self._buffer(buffer.index))
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from None

    def _gap(self, sequence: int) -> int:
        """Frames that the driver counted between the last one and this one."""
        before, self._sequence = self._sequence, sequence
        if before is None or sequence <= before:  # the first, began anew, or never counts
            return 0
        return sequence - before - 1

    def _image(self, buffer: kernel.Buffer) -> U8 | None:
        """(H,W) or (H,W,3), a copy; None for a buffer that is not full."""
        mode, view = self._mode, np.frombuffer(self._buffers[buffer.index], np.uint8)
        if mode.letters in JPEG:
            flags = cv2.IMREAD_GRAYSCALE if self._grey else cv2.IMREAD_COLOR
            flags |= cv2.IMREAD_IGNORE_ORIENTATION
            with silent_decoders():
                image = cv2.imdecode(view[: buffer.bytesused], flags)
            return None if image is None else np.asarray(image, np.uint8)
        layout = LAYOUTS[mode.letters]
        stride = mode.bytes_per_line or layout.step * mode.width
        rows = mode.height * layout.rows // 2
        if min(buffer.bytesused, len(view)) < stride * rows:
            return None
        lines = view[: stride * rows].reshape(rows, stride)
        if not self._grey:
            return _bgr(lines, mode, layout)
        wide = lines[: mode.height, layout.first : layout.step * mode.width : layout.step]
        if mode.limited_range:
            return np.asarray(cv2.LUT(np.ascontiguousarray(wide), STRETCH), np.uint8)
        return wide.copy()

    def _shot(self, image: U8, buffer: kernel.Buffer, lost: int) -> Shot:
        received_ns = self._system.now_ns()
        stamp_ns = buffer.seconds * 1_000_000_000 + buffer.microseconds * 1000
        ours = buffer.flags & kernel.TIMESTAMP_MASK == kernel.TIMESTAMP_MONOTONIC
        if not (ours and 0 <= received_ns - stamp_ns < OLDEST_NS):
            self.clock = "arrival (the driver's clock is not ours)"
            return Shot(image=image, stamp_ns=received_ns, received_ns=received_ns, lost=lost)
        delay_ns = self._exposure_ns // 2
        if buffer.flags & kernel.STAMP_SOURCE_MASK == kernel.STAMP_START_OF_EXPOSURE:
            delay_ns = -delay_ns
            self.clock = "the driver's, at the start of the exposure"
        else:
            self.clock = "the driver's, at the end of the frame"
        return Shot(
            image=image, stamp_ns=stamp_ns, received_ns=received_ns, delay_ns=delay_ns, lost=lost
        )


def _bgr(lines: U8, mode: Mode, layout: Layout) -> U8:
    """(H,W,3) of a buffer's rows."""
    pixels = lines.reshape(len(lines), -1, 2) if layout.step == 2 else lines
    bgr = cv2.cvtColor(pixels, layout.to_bgr)[:, : mode.width]  # without what pads the rows
    return np.ascontiguousarray(bgr, np.uint8)
