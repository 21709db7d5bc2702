"""The GPU of this machine, asked of the driver itself."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """name: as the driver tells it; compute_capability: "8.7"."""

    name: str
    compute_capability: str


def find_gpu() -> Gpu | None:
    """The first CUDA device, or None where there is no driver or no device.

    Through the driver library alone: no other package needs to be installed, and no
    CUDA context is made.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, number = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if cuda.cuDeviceGetName(name, len(name), device):
        return None
    capability = []
    for attribute in (_MAJOR, _MINOR):
        if cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return None
        capability.append(str(number.value))
    return Gpu(name=name.value.decode(), compute_capability=".".join(capability))
