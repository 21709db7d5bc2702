"""Device memory, taken once: the counterpart of the host's arena.

A `Staged` buffer has two sides, one for the processor and one for the device. Where both
use the same memory, as on a Jetson, they are one and the same bytes (mapped pinned memory)
and nothing is ever copied; elsewhere it is pinned memory and a copy in device memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..arrays import U8
from ..memory.arena import LedgerEntry
from .driver import Cuda, CudaError, HostMemory

ALIGNMENT_BYTES = 256  # what TensorRT asks of its scratch, and cudaMalloc gives


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A buffer that both sides see."""

    #: As the processor sees it.
    host: NDArray[Any]
    #: Of the device's side.
    address: int
    #: Both sides are the same memory.
    mapped: bool


class DeviceArena:
    """Hands out device memory until it is sealed, and keeps a ledger of it.

    budget_bytes: device memory at most, None for all there is. mapped: whether staged
    buffers are one memory for both sides; None asks the device.
    """

    def __init__(
        self, cuda: Cuda, *, budget_bytes: int | None = None, mapped: bool | None = None
    ) -> None:
        self.cuda = cuda
        self.mapped = cuda.info.integrated if mapped is None else mapped
        self.ledger: list[LedgerEntry] = []
        self.sealed = False
        self.nbytes = 0  # of the device, alignment included; mapped memory counts here
        self.pinned_bytes = 0  # of the processor, beside it
        self._budget = budget_bytes
        self._device: list[int] = []
        self._host: list[HostMemory] = []

    def take(self, name: str, nbytes: int) -> int:
        """Address of zeroed device memory; raises once sealed or over the budget."""
        padded = self._note(name, nbytes)
        address = self.cuda.allocate(padded)
        self._device.append(address)
        stream = self.cuda.create_stream()
        self.cuda.clear(address, padded, stream)
        self.cuda.synchronize(stream)
        self.cuda.destroy_stream(stream)
        return address

    def take_staged(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Staged:
        """A zeroed buffer of two sides."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if self.mapped:
            padded = self._note(name, nbytes)
            address = 0
        else:
            address = self.take(name, nbytes)
            padded = _padded(nbytes)
            self.pinned_bytes += padded
        memory = self.cuda.allocate_host(padded, mapped=self.mapped)
        self._host.append(memory)
        host = memory.array[:nbytes].view(dtype).reshape(shape)
        return Staged(host=host, address=address or memory.address, mapped=self.mapped)

    def upload(self, buffer: Staged, stream: int, nbytes: int | None = None) -> None:
        """Show the device what the processor wrote, or its first bytes."""
        if not buffer.mapped:
            self.cuda.upload(buffer.address, _bytes(buffer.host)[:nbytes], stream)

    def download(self, buffer: Staged, stream: int, nbytes: int | None = None) -> None:
        """Show the processor what the device wrote, once the stream is done."""
        if not buffer.mapped:
            self.cuda.download(_bytes(buffer.host)[:nbytes], buffer.address, stream)

    def seal(self) -> None:
        """From here on taking raises: frames find their buffers taken."""
        self.sealed = True

    def close(self) -> None:
        """Give everything back; nothing may be on its way any more."""
        while self._device:
            self.cuda.free(self._device.pop())
        while self._host:
            self.cuda.free_host(self._host.pop())

    def _note(self, name: str, nbytes: int) -> int:
        """The ledger's entry; bytes with what alignment adds."""
        if self.sealed:
            raise CudaError(
                f"device arena: '{name}' was asked for after the arena was sealed; buffers are "
                f"taken when the localiser is opened, not per frame"
            )
        padded = _padded(nbytes)
        if self._budget is not None and self.nbytes + padded > self._budget:
            raise CudaError(
                f"device arena: '{name}' takes {nbytes} bytes, {self._budget - self.nbytes} of the "
                f"budget of {self._budget} are left; taken are "
                + ", ".join(f"{e.name} {e.nbytes}" for e in self.ledger)
            )
        self.nbytes += padded
        self.ledger.append(LedgerEntry(name, nbytes))
        return padded


def _padded(nbytes: int) -> int:
    return max(-(-nbytes // ALIGNMENT_BYTES), 1) * ALIGNMENT_BYTES


def _bytes(array: NDArray[Any]) -> U8:
    return array.reshape(-1).view(np.uint8)
