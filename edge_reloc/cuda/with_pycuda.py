"""The seam by pycuda."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import missing_package
from .driver import CudaError, DeviceInfo, HostMemory, Size

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which pycuda has no name for


class PyCuda:
    """The first device, through the primary context that TensorRT uses too.

    pycuda gives back what nobody refers to; what is taken is kept by its address.
    """

    def __init__(self) -> None:
        try:
            import pycuda.driver as driver
        except ImportError as error:
            if "libcuda" in str(error):
                raise CudaError(f"CUDA: start the driver: {error}") from None
            raise missing_package("pycuda", "the GPU", "gpu") from None
        self._cu = driver
        with self._doing("start the driver"):
            driver.init()
        with self._doing("open the device"):
            device = driver.Device(0)
            self._context: Any = device.retain_primary_context()
            self._context.push()
        atexit.register(self.close)  # pycuda aborts the process over a context left behind
        kinds = driver.device_attribute
        with self._doing("ask the device what it is"):
            major = device.get_attribute(kinds.COMPUTE_CAPABILITY_MAJOR)
            minor = device.get_attribute(kinds.COMPUTE_CAPABILITY_MINOR)
            self.info = DeviceInfo(
                name=device.name(),
                compute_capability=f"{major}.{minor}",
                multiprocessors=device.get_attribute(kinds.MULTIPROCESSOR_COUNT),
                integrated=bool(device.get_attribute(kinds.INTEGRATED)),
                total_bytes=device.total_memory(),
            )
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}

    def enter(self) -> None:
        with self._doing("enter the context"):
            self._context.push()

    def leave(self) -> None:
        """pycuda aborts the process over a thread that ends with a context."""
        with self._doing("leave the context"):
            self._context.pop()

    def allocate(self, nbytes: int) -> int:
        with self._doing(f"take {nbytes} bytes of the device"):
            memory = self._cu.mem_alloc(nbytes)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        with self._doing("give device memory back"):
            self._memory.pop(address).free()

    def free_bytes(self) -> int:
        with self._doing("ask for free memory"):
            return int(self._cu.mem_get_info()[0])

    def allocate_host(self, nbytes: int, *, mapped: bool) -> HostMemory:
        flags = self._cu.host_alloc_flags.DEVICEMAP if mapped else 0
        with self._doing(f"pin {nbytes} bytes"):
            array = self._cu.pagelocked_zeros(nbytes, np.uint8, mem_flags=flags)
            address = int(array.base.get_device_pointer()) if mapped else 0
        return HostMemory(array=array, address=address, owner=array.base)

    def free_host(self, memory: HostMemory) -> None:
        with self._doing("give pinned memory back"):
            memory.owner.free()

    def create_stream(self) -> int:
        with self._doing("make a stream"):
            stream = self._cu.Stream(NON_BLOCKING)
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        del self._streams[stream]

    def synchronize(self, stream: int) -> None:
        with self._doing("wait for the device"):
            self._streams[stream].synchronize()

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        with self._doing("copy to the device"):
            self._cu.memcpy_htod_async(address, array, self._streams[stream])

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        with self._doing("copy from the device"):
            self._cu.memcpy_dtoh_async(array, address, self._streams[stream])

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        with self._doing("clear device memory"):
            self._cu.memset_d8_async(address, 0, nbytes, self._streams[stream])

    def load(self, image: bytes) -> Any:
        with self._doing("load kernels"):
            return self._cu.module_from_buffer(image)

    def function(self, module: Any, name: str) -> Any:
        with self._doing(f"find kernel '{name}'"):
            return module.get_function(name)

    def launch(
        self, function: Any, grid: Size, block: Size, arguments: Sequence[np.generic], stream: int
    ) -> None:
        with self._doing("start a kernel"):
            function(*arguments, grid=grid, block=block, stream=self._streams[stream])

    def create_event(self) -> Any:
        with self._doing("make an event"):
            return self._cu.Event()

    def record(self, event: Any, stream: int) -> None:
        with self._doing("record an event"):
            event.record(self._streams[stream])

    def elapsed_ms(self, start: Any, end: Any) -> float:
        with self._doing("time events"):
            end.synchronize()
            return float(start.time_till(end))

    def close(self) -> None:
        """Leave the context; a second time does nothing."""
        if self._context is None:
            return
        atexit.unregister(self.close)
        self._memory.clear()
        self._streams.clear()
        with self._doing("close the context"):
            self._context.pop()
        self._context = None

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """Errors of pycuda become one line that says what was being done."""
        try:
            yield
        except self._cu.Error as error:
            raise CudaError(f"CUDA: {what}: {error}") from error
