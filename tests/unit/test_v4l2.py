"""Cameras by Video4Linux2, over a stand-in of the kernel at its calls: no camera was there."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_reloc.errors import SourceError
from edge_reloc.sources import v4l2
from edge_reloc.sources import v4l2_kernel as kernel
from edge_reloc.sources.live import LiveSource
from edge_reloc.sources.options import CameraOptions
from edge_reloc.sources.v4l2 import BUFFERS, System, V4l2Capture

WIDTH, HEIGHT = 64, 48
PATH = Path("/dev/video0")
#: grey of each pixel; chroma of all of them
GREY = np.random.default_rng(0).integers(16, 236, (HEIGHT, WIDTH), np.uint8)
NEUTRAL = 128
LATE_NS = 10_000_000  # from a frame's stamp to its arrival


class Memory(bytearray):
    """What `mmap` gives."""

    def close(self) -> None: ...


@dataclass
class Kernel:
    """One camera. modes: format -> rates by size, None for any."""

    modes: dict[str, dict[tuple[int, int], float]]
    quantization: int = kernel.FULL_RANGE
    padding: int = 0  # bytes at the end of each row
    caps: int = kernel.CAP_VIDEO_CAPTURE | kernel.CAP_STREAMING
    flags: int = kernel.TIMESTAMP_MONOTONIC
    refuses: dict[int, int] = field(default_factory=dict)  # call -> errno
    controls: dict[int, int] = field(default_factory=dict)
    #: stamp ns, sequence, flags of frames to come
    frames: deque[tuple[int, int, int]] = field(default_factory=deque)
    image: Any = None

    def __post_init__(self) -> None:
        self.queued: deque[int] = deque()
        self.memory: list[Memory] = []
        self.format = kernel.Format()
        self.open_count, self.streaming = 0, False
        self.now_ns = 0

    @property
    def system(self) -> System:
        calls = self.open, self.close, self.ioctl, self.mmap, self.select
        return System(*calls, lambda: self.now_ns)

    def open(self, path: str, flags: int) -> int:
        if error := self.refuses.get(-1):
            raise OSError(error, os.strerror(error))
        assert path == str(PATH) and flags & os.O_NONBLOCK
        self.open_count += 1
        return 7

    def close(self, device: int) -> None:
        assert device == 7
        self.open_count -= 1

    def mmap(self, device: int, length: int, offset: int) -> Memory:
        assert offset == 4096 * len(self.memory)
        self.memory.append(Memory(length))
        return self.memory[-1]

    def select(self, read: list[int], _: list[int], __: list[int], timeout_s: float) -> None:
        time.sleep(min(timeout_s, 0.001))

    def ioctl(self, device: int, call: int, what: Any) -> None:
        assert device == 7 and self.open_count == 1
        assert (call >> 16 & 0x3FFF) == ctypes.sizeof(what)
        if error := self.refuses.get(call):
            raise OSError(error, os.strerror(error))
        {
            kernel.QUERYCAP: self._query,
            kernel.ENUM_FMT: self._describe,
            kernel.S_FMT: self._set_format,
            kernel.G_PARM: self._rate,
            kernel.S_PARM: self._rate,
            kernel.S_CTRL: self._control,
            kernel.REQBUFS: lambda request: None,
            kernel.QUERYBUF: self._query_buffer,
            kernel.QBUF: lambda buffer: self.queued.append(buffer.index),
            kernel.DQBUF: self._fill,
            kernel.STREAMON: lambda _: setattr(self, "streaming", True),
            kernel.STREAMOFF: lambda _: setattr(self, "streaming", False),
        }[call](what)

    def _query(self, what: kernel.Capability) -> None:
        what.card, what.capabilities, what.device_caps = b"stand-in", 0xFFFFFFFF, self.caps

    def _describe(self, what: kernel.FormatDescription) -> None:
        if what.index >= len(self.modes):
            raise OSError(errno.EINVAL, "no more")
        what.pixelformat = kernel.code_of(list(self.modes)[what.index])

    def _set_format(self, what: kernel.Format) -> None:
        """As drivers do: the nearest it has."""
        letters = kernel.four_letters(what.pixelformat)
        sizes = self.modes.get(letters) or next(iter(self.modes.values()))
        what.width, what.height = min(sizes, key=lambda size: abs(size[0] - what.width))
        step = 2 if letters in ("YUYV", "UYVY") else 1
        what.bytesperline = step * what.width + self.padding
        what.quantization = self.quantization
        self.format = what

    def _rate(self, what: kernel.Rate) -> None:
        letters = kernel.four_letters(self.format.pixelformat)
        most_hz = self.modes[letters][(self.format.width, self.format.height)]
        asked_hz = what.denominator / what.numerator if what.numerator else most_hz
        what.capability = kernel.CAP_TIMEPERFRAME
        what.numerator, what.denominator = 1000, round(1000 * min(most_hz, asked_hz))

    def _control(self, what: kernel.Control) -> None:
        self.controls[what.id] = what.value

    def _query_buffer(self, what: kernel.Buffer) -> None:
        what.length, what.offset = 8 * WIDTH * HEIGHT, 4096 * what.index

    def _fill(self, what: kernel.Buffer) -> None:
        if not self.streaming or not self.frames or not self.queued:
            raise BlockingIOError(errno.EAGAIN, "none yet")
        stamp_ns, sequence, flags = self.frames.popleft()
        self.now_ns = stamp_ns + LATE_NS
        what.index = self.queued.popleft()
        data = buffer_of(self.format, self.image)
        self.memory[what.index][: len(data)] = data
        what.bytesused, what.sequence, what.flags = len(data), sequence, self.flags | flags
        what.seconds, what.microseconds = divmod(stamp_ns // 1000, 1_000_000)


def buffer_of(form: kernel.Format, image: np.ndarray | None) -> bytes:
    """GREY, or an image, as a driver lays it out; chroma neutral."""
    grey = GREY if image is None else image
    letters = kernel.four_letters(form.pixelformat)
    if letters == "MJPG":
        return bytes(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 100])[1])
    rows = grey
    if letters in ("YUYV", "UYVY"):
        pair = [grey, np.full_like(grey, NEUTRAL)]
        rows = np.stack(pair if letters == "YUYV" else pair[::-1], axis=2).reshape(HEIGHT, -1)
    if letters in ("NV12", "YU12"):
        rows = np.concatenate([grey, np.full((HEIGHT // 2, WIDTH), NEUTRAL, np.uint8)])
    padding = form.bytesperline - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=NEUTRAL).tobytes()


def one(letters: str, rate_hz: float = 30.0) -> dict[str, dict[tuple[int, int], float]]:
    return {letters: {(WIDTH, HEIGHT): rate_hz}}


def opened(camera: Kernel, grey: bool = True, **options: Any) -> V4l2Capture:
    options = {"size": (WIDTH, HEIGHT), **options}
    return V4l2Capture(PATH, CameraOptions(**options), grey=grey, system=camera.system)


def test_the_calls_are_the_kernels() -> None:
    """Numbers that a C compiler made of linux/videodev2.h (6.1) on x86-64: each holds the size
    of what is passed.
    """
    assert [
        kernel.QUERYCAP, kernel.ENUM_FMT, kernel.S_FMT, kernel.REQBUFS, kernel.QUERYBUF,
        kernel.QBUF, kernel.DQBUF, kernel.STREAMON, kernel.STREAMOFF, kernel.G_PARM,
        kernel.S_PARM, kernel.S_CTRL,
    ] == [
        0x80685600, 0xC0405602, 0xC0D05605, 0xC0145608, 0xC0585609,
        0xC058560F, 0xC0585611, 0x40045612, 0x40045613, 0xC0CC5615,
        0xC0CC5616, 0xC008561C,
    ]  # fmt: skip
    buffer, form = kernel.Buffer, kernel.Format
    places = [buffer.seconds, buffer.sequence, buffer.offset, buffer.length]
    assert [place.offset for place in places] == [24, 56, 64, 72]
    places = [form.width, form.bytesperline, form.colorspace, form.quantization]
    assert [place.offset - 8 for place in places] == [0, 16, 24, 40]
    assert kernel.Capability.device_caps.offset == 88
    assert kernel.FormatDescription.pixelformat.offset == 44


@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize("letters", ["GREY", "NV12", "YU12", "YUYV", "UYVY", "MJPG"])
def test_grey_and_colour_of_every_format(letters: str, padding: int) -> None:
    for grey in (True, False):
        camera = Kernel(one(letters), padding=padding)
        camera.frames.append((5_000_000, 0, 0))
        capture = opened(camera, grey)
        shot = capture.read()
        assert shot is not None
        for memory in camera.memory:  # the driver fills them again
            memory[:] = bytes(len(memory))
        assert shot.image.shape == ((HEIGHT, WIDTH) if grey else (HEIGHT, WIDTH, 3))
        if grey:
            worst = 0 if letters != "MJPG" else 4
            assert np.abs(shot.image.astype(int) - GREY).max() <= worst
        else:  # OpenCV takes YUV for limited range
            full = letters in ("GREY", "MJPG")
            wanted = GREY if full else np.clip((GREY.astype(float) - 16) * 255 / 219, 0, 255)
            assert np.abs(shot.image.astype(float) - wanted[:, :, None]).max() <= 4
        capture.release()
        assert camera.open_count == 0 and not camera.streaming


def test_grey_of_limited_range_is_stretched() -> None:
    camera = Kernel(one("YUYV"), quantization=kernel.LIMITED_RANGE)
    camera.frames.append((5_000_000, 0, 0))
    shot = opened(camera).read()
    assert shot is not None
    wanted = np.clip((GREY.astype(float) - 16) * 255 / 219, 0, 255)
    assert np.abs(shot.image - wanted).max() <= 0.5


HD, VGA = (1280, 720), (640, 480)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "640x480 YUYV, 30 Hz"),  # the calibration's size is always asked for
        ({"size": HD}, "1280x720 MJPG, 30 Hz"),  # YUYV comes at 10 Hz over USB 2
        ({"size": HD, "rate_hz": 10}, "1280x720 YUYV, 10 Hz"),
        ({"size": HD, "rate_hz": 60}, "1280x720 MJPG, 30 Hz"),
        ({"size": HD, "pixel_format": "YUYV"}, "1280x720 YUYV, 10 Hz"),
        ({"size": (800, 600)}, "640x480 YUYV, 30 Hz"),  # what comes nearest
    ],
)
def test_what_is_asked_for_is_negotiated_and_told(options: dict[str, Any], told: str) -> None:
    camera = Kernel({"MJPG": {HD: 30.0, VGA: 30.0}, "H264": {HD: 30.0}, "YUYV": {HD: 10, VGA: 30}})
    capture = opened(camera, **{"size": None, **options})
    assert capture.about == f"stand-in, {told}"
    assert len(camera.memory) == len(camera.queued) == BUFFERS and camera.streaming


@pytest.mark.parametrize(
    ("options", "set_to"),
    [
        ({"focus": 120}, {kernel.FOCUS_AUTO: 0, kernel.FOCUS_ABSOLUTE: 120}),
        ({"hold_focus": True}, {kernel.FOCUS_AUTO: 0}),
        ({}, {}),
    ],
)
def test_the_focus_is_fixed_where_that_is_asked(
    options: dict[str, Any], set_to: dict[int, int]
) -> None:
    camera = Kernel(one("GREY"))
    opened(camera, **options)
    assert camera.controls == set_to


def test_exposure_and_gain_are_set_and_the_middle_of_the_exposure_is_told() -> None:
    camera = Kernel(one("GREY"))
    capture = opened(camera, exposure_ms=8, gain=12)
    assert camera.controls == {
        kernel.GAIN: 12,
        kernel.EXPOSURE_AUTO: kernel.EXPOSURE_MANUAL,
        kernel.EXPOSURE_ABSOLUTE: 80,
    }
    assert capture.about.endswith("30 Hz, exposure 8 ms")
    camera.frames.append((5_000_000_000, 0, 0))
    shot = capture.read()
    assert shot is not None and shot.stamp_ns - shot.delay_ns == 4_996_000_000
    assert capture.clock == "the driver's, at the end of the frame"
    camera.frames.append((6_000_000_000, 1, kernel.STAMP_START_OF_EXPOSURE))
    shot = capture.read()
    assert shot is not None and shot.stamp_ns - shot.delay_ns == 6_004_000_000
    assert capture.clock == "the driver's, at the start of the exposure"


@pytest.mark.parametrize(("flags", "late_ns"), [(0, 0), (kernel.TIMESTAMP_MONOTONIC, int(9e9))])
def test_frames_of_a_driver_with_another_clock_are_stamped_with_arrival(
    flags: int, late_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "LATE_NS", late_ns)
    camera = Kernel(one("GREY"), flags=flags)
    camera.frames.append((5_000_000_000, 0, 0))
    capture = opened(camera)
    shot = capture.read()
    assert shot is not None and shot.stamp_ns == shot.received_ns == 5_000_000_000 + late_ns
    assert capture.clock == "arrival (the driver's clock is not ours)"


def test_the_newest_frame_is_taken_and_lost_ones_are_counted() -> None:
    camera = Kernel(one("GREY"))
    capture = opened(camera)
    camera.frames.append((1_000_000, 10, 0))
    assert (shot := capture.read()) and shot.lost == 0
    camera.frames += [(2_000_000, 11, 0), (3_000_000, 14, 0), (4_000_000, 16, 0)]
    shot = capture.read()
    assert shot is not None and shot.stamp_ns == 4_000_000
    assert shot.lost == 5  # 11 to 15
    camera.frames += [(5_000_000, 17, kernel.FLAG_ERROR)]
    camera.system.select([], [], [], 0)
    camera.frames += [(6_000_000, 18, 0)]
    shot = capture.read()
    assert shot is not None and shot.stamp_ns == 6_000_000 and shot.lost == 1
    assert len(camera.queued) == BUFFERS  # all were given back


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"refuses": {-1: errno.EACCES}}, "cannot be opened .Permission denied."),
        ({"refuses": {kernel.S_FMT: errno.EBUSY}}, "busy .in use by another program."),
        ({"refuses": {kernel.STREAMON: errno.ENOSPC}}, "No space left on device"),
        ({"refuses": {kernel.QUERYCAP: errno.ENOTTY}}, "Inappropriate ioctl"),
        ({"caps": kernel.CAP_STREAMING}, "no camera that hands over pictures by itself"),
        ({"modes": one("RG10")}, "offers RG10, expected one of GREY NV12 YU12 YUYV"),
        ({"refuses": {kernel.S_CTRL: errno.EINVAL}}, "its gain cannot be set to 3 .Invalid"),
    ],
)
def test_what_is_no_usable_camera_is_told_in_one_line(changes: dict[str, Any], text: str) -> None:
    camera = Kernel(**{"modes": one("GREY"), **changes})
    with pytest.raises(SourceError, match=f"^/dev/video0: .*{text}"):
        opened(camera, gain=3)
    assert camera.open_count == 0


def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v4l2, "SILENT_S", 0.05)
    camera = Kernel(one("GREY"))
    capture = opened(camera)
    with pytest.raises(SourceError, match=r"/dev/video0: no frame for 0\.05 s"):
        capture.read()
    capture.release()


def test_an_unplugged_camera_that_is_plugged_in_again_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(v4l2, "SILENT_S", 0.5)
    first, second = Kernel(one("GREY")), Kernel(one("GREY"))
    for number in range(3):
        first.frames.append((1000 * number + 1000, number, 0))
    second.frames += [(10_000, 0, 0), (11_000, 1, 0)]
    cameras = iter((first, second))
    source = LiveSource(lambda: opened(next(cameras)), "/dev/video0")
    assert source.fault is None
    first.refuses[kernel.DQBUF] = errno.ENODEV
    deadline_s = time.monotonic() + 30
    while source.fault is None or "No such device" not in source.fault.text:
        source.wait(0.01)
        assert time.monotonic() < deadline_s
    while (frame := source.wait(0.1)) is None or frame.t_ns < 10_000:
        assert time.monotonic() < deadline_s
    assert first.open_count == 0 and second.open_count == 1
    source.close()
    assert second.open_count == 0
