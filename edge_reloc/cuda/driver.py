"""The seam to the CUDA driver: all that the runtime asks of a GPU.

Whoever answers (bindings.py), an error names what was being done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import U8
from ..errors import EdgeRelocError

Size = tuple[int, int, int]  # of a grid in blocks, or of a block in threads


class CudaError(EdgeRelocError):
    """CUDA refused something; the text says what was being done."""


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What is planned and compiled for."""

    name: str
    #: "8.7" for an Orin.
    compute_capability: str
    multiprocessors: int
    #: It shares its memory with the processor, as on a Jetson: mapped host memory costs no copy.
    integrated: bool
    #: Of its memory, free or not.
    total_bytes: int

    @property
    def target(self) -> str:
        """As compilers name it: sm_87."""
        return "sm_" + self.compute_capability.replace(".", "")


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Pinned memory of the processor."""

    #: (nbytes,) as the processor sees it.
    array: U8
    #: As the device sees it, 0 where it was not asked to be mapped.
    address: int
    #: What keeps it alive, of the package that took it.
    owner: Any


class Cuda(Protocol):
    """One device, its context current in the thread that opened it.

    Addresses are of device memory. A stream is its handle, as TensorRT takes it. What is
    named asynchronous is done in the order of its stream, some time before `synchronize`
    returns; until then its memory must stay. Everything raises CudaError.
    """

    info: DeviceInfo

    def enter(self) -> None:
        """Make the device current in the calling thread too."""

    def leave(self) -> None:
        """Undo `enter`, before the thread ends."""

    def allocate(self, nbytes: int) -> int:
        """Device memory, aligned to 256 bytes at least."""

    def free(self, address: int) -> None:
        """Give device memory back."""

    def free_bytes(self) -> int:
        """Of the device's memory, what nobody has taken."""

    def allocate_host(self, nbytes: int, *, mapped: bool) -> HostMemory:
        """Zeroed pinned memory, seen by the device too when mapped."""

    def free_host(self, memory: HostMemory) -> None:
        """Give pinned memory back."""

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""

    def synchronize(self, stream: int) -> None:
        """Wait until all that the stream was asked for is done."""

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Host to device, asynchronous; the array is contiguous and pinned."""

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Device to host, asynchronous; the array is contiguous and pinned."""

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Set device memory to zero, asynchronous."""

    def load(self, image: bytes) -> Any:
        """A module of compiled kernels."""

    def function(self, module: Any, name: str) -> Any:
        """One kernel of a module."""

    def launch(
        self, function: Any, grid: Size, block: Size, arguments: Sequence[np.generic], stream: int
    ) -> None:
        """Start a kernel, asynchronous.

        arguments: addresses as uint64, others as the kernel declares them.
        """

    def create_event(self) -> Any:
        """A mark to be put into a stream."""

    def record(self, event: Any, stream: int) -> None:
        """Put the mark behind all that the stream was asked for."""

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Between two marks that the stream has passed; waits for the second."""

    def close(self) -> None:
        """Give the device's context back."""
