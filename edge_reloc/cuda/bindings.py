"""Who answers for the CUDA driver: the first device, by the package that is installed.

`pycuda` where it is installed (Jetsons compile it), `cuda-python` otherwise (it comes as
wheels).
"""

from __future__ import annotations

import importlib.util

from ..errors import MissingPackageError
from .driver import Cuda
from .with_cuda_python import CudaPython
from .with_pycuda import PyCuda

BINDINGS = {"pycuda": "pycuda", "cuda-python": "cuda.bindings"}  # and the module each brings


def bindings() -> str | None:
    """The package that speaks to CUDA here; None when neither is installed."""
    for name, module in BINDINGS.items():
        if importlib.util.find_spec(module.split(".")[0]) and importlib.util.find_spec(module):
            return name
    return None


def open_cuda(name: str | None = None) -> Cuda:
    """The first CUDA device.

    name: of BINDINGS, None for the one that is installed. MissingPackageError says what
    to install, CudaError that there is no device.
    """
    name = name or bindings()
    if name is None:
        raise MissingPackageError(
            "the GPU needs the package 'pycuda' or 'cuda-python', neither is installed: "
            "pip install 'edge-reloc[gpu]' (on a Jetson: pip install pycuda)"
        )
    if name == "pycuda":
        return PyCuda()
    return CudaPython()
