"""A GPU that only counts: for planning device memory where there may be none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.points import PointMap
from .driver import DeviceInfo, HostMemory, Size
from .gpu import Gpu
from .resident import ResidentDescriptors

# What is planned for where no GPU can be asked: a Jetson Orin, whose memory is one.
ORIN = DeviceInfo(
    name="Orin", compute_capability="8.7", multiprocessors=8, integrated=True, total_bytes=8 << 30
)


class PlannedCuda:
    """Answers as a device of `info` would, takes nothing and does nothing."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info

    def allocate(self, nbytes: int) -> int:
        return 256  # aligned, and nobody may use it

    def allocate_host(self, nbytes: int, *, mapped: bool) -> HostMemory:
        # No page of it is touched, so none is taken.
        return HostMemory(array=np.zeros(nbytes, np.uint8), address=256, owner=None)

    def free_bytes(self) -> int:
        return self.info.total_bytes

    def create_stream(self) -> int:
        return 0

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return 0.0

    def enter(self) -> None: ...
    def leave(self) -> None: ...
    def free(self, address: int) -> None: ...
    def free_host(self, memory: HostMemory) -> None: ...
    def destroy_stream(self, stream: int) -> None: ...
    def synchronize(self, stream: int) -> None: ...
    def upload(self, address: int, array: NDArray[Any], stream: int) -> None: ...
    def download(self, array: NDArray[Any], address: int, stream: int) -> None: ...
    def clear(self, address: int, nbytes: int, stream: int) -> None: ...
    def load(self, image: bytes) -> Any: ...
    def function(self, module: Any, name: str) -> Any: ...
    def launch(
        self, function: Any, grid: Size, block: Size, arguments: Sequence[np.generic], stream: int
    ) -> None: ...
    def create_event(self) -> Any: ...
    def record(self, event: Any, stream: int) -> None: ...
    def close(self) -> None: ...


class PlannedGpu(Gpu):
    """Takes in its ledger what a `Gpu` would; compiles and copies nothing."""

    def __init__(self, info: DeviceInfo) -> None:
        super().__init__(PlannedCuda(info), graphs=False, compile=lambda *_: b"")

    def resident(self, points: PointMap) -> ResidentDescriptors:
        """Their size alone: the map's file is not read."""
        if self._resident is None:
            self._resident = ResidentDescriptors(points, self.arena, self.stream, fill=False)
        return self._resident
