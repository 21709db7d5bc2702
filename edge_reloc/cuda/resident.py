"""The map's descriptors in device memory."""

from __future__ import annotations

import numpy as np

from ..bundle.points import PointMap
from .arena import DeviceArena
from .driver import CudaError

UPLOAD_BYTES = 1 << 20  # pinned for the time of the upload
LARGEST_ROW_BYTES = 512


class ResidentDescriptors:
    """P rows at `address`, each padded with zeros to `row_bytes`.

    row_bytes: a power of two from 32 on. int8: of the numbers, otherwise float16.
    fill: copy the map's descriptors there.
    """

    def __init__(
        self, points: PointMap, arena: DeviceArena, stream: int, *, fill: bool = True
    ) -> None:
        kind = points.descriptor.dtype
        self.int8 = kind == np.int8
        self.row_bytes = row_bytes(points.dim, kind.itemsize)
        self.address = arena.take("map.descriptors", points.n * self.row_bytes)
        if fill:
            self._fill(points, arena, stream)

    def _fill(self, points: PointMap, arena: DeviceArena, stream: int) -> None:
        kind = points.descriptor.dtype
        numbers = self.row_bytes // kind.itemsize
        at_once = max(UPLOAD_BYTES // self.row_bytes, 1)
        staging = arena.cuda.allocate_host(at_once * self.row_bytes, mapped=False)
        rows = staging.array.view(kind).reshape(at_once, numbers)
        for first in range(0, points.n, at_once):
            stored = points.descriptor[first : first + at_once]
            rows[: len(stored), : points.dim] = stored
            arena.cuda.upload(self.address + first * self.row_bytes, rows[: len(stored)], stream)
            arena.cuda.synchronize(stream)
        arena.cuda.free_host(staging)


def row_bytes(dim: int, itemsize: int) -> int:
    """Of a padded row of `dim` numbers; CudaError when no kernel takes it."""
    size = max(32, 1 << (dim * itemsize - 1).bit_length())
    if size > LARGEST_ROW_BYTES:
        raise CudaError(
            f"GPU matching: descriptors of {dim} numbers take {dim * itemsize} bytes, at most "
            f"{LARGEST_ROW_BYTES} fit; match on the processor (--matcher cpu)"
        )
    return size
