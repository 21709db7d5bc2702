"""A GPU that only counts: for planning device memory where there may be none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.points import PointMap
from .driver import DeviceInfo, HostMemory
from .gpu import Gpu, Kernels
from .resident import ResidentDescriptors

# What is planned for where no GPU can be asked: a Jetson Orin, whose memory is one.
ORIN = DeviceInfo(
    name="Orin", compute_capability="8.7", multiprocessors=8, integrated=True, total_bytes=8 << 30
)


class PlannedCuda:
    """Answers as a device of `info` would, takes nothing and does nothing."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info

    def enter(self) -> None:
        """Nothing."""

    def leave(self) -> None:
        """Nothing."""

    def allocate(self, nbytes: int) -> int:
        """An address that nobody may use."""
        return 256

    def free(self, address: int) -> None:
        """Nothing."""

    def free_bytes(self) -> int:
        """All of it."""
        return self.info.total_bytes

    def allocate_host(self, nbytes: int, *, mapped: bool) -> HostMemory:
        """Memory of which no page is touched."""
        return HostMemory(array=np.zeros(nbytes, np.uint8), address=256, owner=None)

    def free_host(self, memory: HostMemory) -> None:
        """Nothing."""

    def create_stream(self) -> int:
        """Nobody's."""
        return 0

    def destroy_stream(self, stream: int) -> None:
        """Nothing."""

    def synchronize(self, stream: int) -> None:
        """Nothing."""

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Nothing."""

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Nothing."""

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Nothing."""

    def load(self, image: bytes) -> Any:
        """Nothing."""

    def function(self, module: Any, name: str) -> Any:
        """Nothing."""

    def launch(
        self,
        function: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[np.generic],
        stream: int,
    ) -> None:
        """Nothing."""

    def create_event(self) -> Any:
        """Nothing."""

    def record(self, event: Any, stream: int) -> None:
        """Nothing."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """No time."""
        return 0.0

    def close(self) -> None:
        """Nothing."""


class PlannedGpu(Gpu):
    """Takes in its ledger what a `Gpu` would; compiles and copies nothing."""

    def __init__(self, info: DeviceInfo) -> None:
        super().__init__(PlannedCuda(info), graphs=False, compile=_nothing)

    def repeat(self, ask: Callable[[], None]) -> Callable[[], None]:
        """Nothing is ever asked."""
        return ask

    def kernels(self, source: str, defines: Mapping[str, int]) -> Kernels:
        """Kernels that are never started."""
        return Kernels(self.cuda, None, self.stream)

    def resident(self, points: PointMap) -> ResidentDescriptors:
        """Their size alone: the map's file is not read."""
        if self._resident is None:
            self._resident = ResidentDescriptors(points, self.arena, self.stream, fill=False)
        return self._resident


def _nothing(source: str, defines: Mapping[str, int], target: str) -> bytes:
    return b""
