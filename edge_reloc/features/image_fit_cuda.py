"""The same on the GPU: the camera's bytes go up once, and nothing but features comes down."""

from __future__ import annotations

import numpy as np

from ..arrays import U8
from ..cuda.gpu import Gpu
from ..errors import SourceError
from .image_fit import Fit

THREADS = 128
HEADER = 6  # words of the kernels' `Image`


class FitOnGpu:
    """Into an input (h,w) float32 at a device address.

    capacity: bytes of the largest image, three a pixel in colour.
    """

    def __init__(self, gpu: Gpu, address: int, width: int, height: int, capacity: int) -> None:
        self._gpu, self._address = gpu, address
        self._width, self._height = width, height
        self._image = gpu.arena.take_staged("frame.image", (HEADER,), np.int32)
        self._pixels = gpu.arena.take_staged("frame.pixels", (capacity,), np.uint8)
        self._sum = gpu.arena.take("frame.sum", 8)
        self._kernels = gpu.kernels("image.cu", {})
        self._run = gpu.capture(self._enqueue)

    def fit(self, image: U8, turns: int) -> Fit:
        # Enqueued only: the engine that follows in the stream waits by itself.
        if image.size > len(self._pixels.host):
            raise SourceError(
                f"frame of {image.shape} takes {image.size} bytes, {len(self._pixels.host)} are "
                f"set aside for the camera that the localiser was opened for"
            )
        fit = Fit.of(image, turns, self._width, self._height)
        channels = 1 if image.ndim == 2 else image.shape[2]
        self._image.host[:] = (
            fit.width,
            fit.height,
            channels,
            turns,
            fit.fit_width,
            fit.fit_height,
        )
        self._pixels.host[: image.size].reshape(image.shape)[:] = image
        arena, stream = self._gpu.arena, self._gpu.stream
        arena.upload(self._image, stream)
        arena.upload(self._pixels, stream, image.size)
        self._run()
        return fit

    def _enqueue(self) -> None:
        u64, i32 = np.uint64, np.int32
        self._gpu.cuda.clear(self._sum, 8, self._gpu.stream)
        blocks = (-(-self._width // THREADS), self._height)
        size = (i32(self._width), i32(self._height))
        image, pixels = u64(self._image.address), u64(self._pixels.address)
        target, total = u64(self._address), u64(self._sum)
        self._kernels.launch("shrink", blocks, THREADS, image, pixels, *size, target, total)
        self._kernels.launch("fill", blocks, THREADS, image, *size, target, total)
