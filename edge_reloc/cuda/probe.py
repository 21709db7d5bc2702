"""The GPU of this machine, asked of the driver itself."""

from __future__ import annotations

import ctypes

from .driver import DeviceInfo

# Of CUdevice_attribute.
_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR = 16, 18, 75, 76


def find_gpu() -> DeviceInfo | None:
    """The first CUDA device, or None where there is no driver or no device.

    Through the driver library alone: no other package needs to be installed, and no
    CUDA context is made.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, number, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if cuda.cuDeviceGetName(name, len(name), device):
        return None
    if cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device):
        return None
    values = {}
    for attribute in (_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR):
        if cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return None
        values[attribute] = number.value
    return DeviceInfo(
        name=name.value.decode(),
        compute_capability=f"{values[_MAJOR]}.{values[_MINOR]}",
        multiprocessors=values[_MULTIPROCESSORS],
        integrated=bool(values[_INTEGRATED]),
        total_bytes=size.value,
    )
