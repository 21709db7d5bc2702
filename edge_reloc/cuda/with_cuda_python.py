"""The seam by cuda-python, NVIDIA's own bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import missing_package
from .driver import CudaError, DeviceInfo, HostMemory, Size

_C_TYPES: dict[str, dict[int, Any]] = {
    "u": {4: ctypes.c_uint32, 8: ctypes.c_uint64},
    "i": {4: ctypes.c_int32},
}


class CudaPython:
    """The first device, through the primary context that TensorRT uses too."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import driver
        except ImportError:
            raise missing_package("cuda-python", "the GPU", "gpu") from None
        self._cu = driver
        try:
            self._call("start the driver", driver.cuInit, 0)
        except RuntimeError as error:  # the package does not find the driver's library
            raise CudaError(f"CUDA: start the driver: {_line(error)}") from None
        if self._call("count the devices", driver.cuDeviceGetCount) == 0:
            raise CudaError("CUDA: the driver knows no device")
        self._device = self._call("open the device", driver.cuDeviceGet, 0)
        self._context = self._call("open a context", driver.cuDevicePrimaryCtxRetain, self._device)
        self.enter()
        kinds = driver.CUdevice_attribute
        name = self._call("ask the device's name", driver.cuDeviceGetName, 256, self._device)
        major = self._attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        minor = self._attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        self.info = DeviceInfo(
            name=name.split(b"\0")[0].decode(),
            compute_capability=f"{major}.{minor}",
            multiprocessors=self._attribute(kinds.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
            integrated=bool(self._attribute(kinds.CU_DEVICE_ATTRIBUTE_INTEGRATED)),
            total_bytes=int(
                self._call("ask the device's memory", driver.cuDeviceTotalMem, self._device)
            ),
        )

    def enter(self) -> None:
        self._call("enter the context", self._cu.cuCtxSetCurrent, self._context)

    def leave(self) -> None:
        """Nothing: a context may be current in a thread that ends."""

    def allocate(self, nbytes: int) -> int:
        return int(self._call(f"take {nbytes} bytes of the device", self._cu.cuMemAlloc, nbytes))

    def free(self, address: int) -> None:
        self._call("give device memory back", self._cu.cuMemFree, address)

    def free_bytes(self) -> int:
        code, free, _ = self._cu.cuMemGetInfo()
        if int(code):
            raise CudaError(f"CUDA: ask for free memory: error {int(code)}")
        return int(free)

    def allocate_host(self, nbytes: int, *, mapped: bool) -> HostMemory:
        cu = self._cu
        flags = cu.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0
        pointer = int(self._call(f"pin {nbytes} bytes", cu.cuMemHostAlloc, nbytes, flags))
        array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(pointer))
        array[:] = 0
        address = 0
        if mapped:
            address = int(self._call("map memory", cu.cuMemHostGetDevicePointer, pointer, 0))
        return HostMemory(array=array, address=address, owner=pointer)

    def free_host(self, memory: HostMemory) -> None:
        self._call("give pinned memory back", self._cu.cuMemFreeHost, memory.owner)

    def create_stream(self) -> int:
        flag = self._cu.CUstream_flags.CU_STREAM_NON_BLOCKING
        return int(self._call("make a stream", self._cu.cuStreamCreate, flag))

    def destroy_stream(self, stream: int) -> None:
        self._call("give a stream back", self._cu.cuStreamDestroy, stream)

    def synchronize(self, stream: int) -> None:
        self._call("wait for the device", self._cu.cuStreamSynchronize, stream)

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        copy = self._cu.cuMemcpyHtoDAsync
        self._call("copy to the device", copy, address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        copy = self._cu.cuMemcpyDtoHAsync
        self._call("copy from the device", copy, array.ctypes.data, address, array.nbytes, stream)

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        self._call("clear device memory", self._cu.cuMemsetD8Async, address, 0, nbytes, stream)

    def load(self, image: bytes) -> Any:
        return self._call("load kernels", self._cu.cuModuleLoadData, image)

    def function(self, module: Any, name: str) -> Any:
        return self._call(
            f"find kernel '{name}'", self._cu.cuModuleGetFunction, module, name.encode()
        )

    def launch(
        self, function: Any, grid: Size, block: Size, arguments: Sequence[np.generic], stream: int
    ) -> None:
        values = tuple(value.item() for value in arguments)
        kinds = tuple(_c_type(value) for value in arguments)
        launch = self._cu.cuLaunchKernel
        self._call("start a kernel", launch, function, *grid, *block, 0, stream, (values, kinds), 0)

    def create_event(self) -> Any:
        return self._call("make an event", self._cu.cuEventCreate, 0)

    def record(self, event: Any, stream: int) -> None:
        self._call("record an event", self._cu.cuEventRecord, event, stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        self._call("wait for an event", self._cu.cuEventSynchronize, end)
        return float(self._call("time events", self._cu.cuEventElapsedTime, start, end))

    def close(self) -> None:
        self._call("close the context", self._cu.cuDevicePrimaryCtxRelease, self._device)

    def _attribute(self, kind: Any) -> int:
        return int(
            self._call(f"ask for {kind.name}", self._cu.cuDeviceGetAttribute, kind, self._device)
        )

    def _call(self, doing: str, function: Any, *arguments: Any) -> Any:
        """The result of a call of the driver, without its error code."""
        code, *results = function(*arguments)
        if int(code):
            _, name = self._cu.cuGetErrorName(code)
            _, text = self._cu.cuGetErrorString(code)
            named = name.decode() if isinstance(name, bytes) else f"error {int(code)}"
            why = text.decode() if isinstance(text, bytes) else "no reason given"
            raise CudaError(f"CUDA: {doing}: {why} ({named})")
        return results[0] if results else None


def _c_type(value: np.generic) -> Any:
    if value.dtype.kind == "f":
        return ctypes.c_float
    return _C_TYPES[value.dtype.kind][value.dtype.itemsize]


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
