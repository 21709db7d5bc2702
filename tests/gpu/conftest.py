"""These tests need a CUDA device, or the driver that stands in for one.

On a machine with a GPU they run as they are. Without one, test_gpu_stand_in.py of the unit
tests runs them once more, over a driver that executes the kernels' sources on the processor.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_reloc.cuda.bindings import BINDINGS, open_cuda
from edge_reloc.cuda.driver import Cuda, CudaError
from edge_reloc.cuda.gpu import Compile, Gpu
from edge_reloc.cuda.kernels import kernel_image
from edge_reloc.errors import MissingPackageError

STAND_IN = os.environ.get("EDGE_RELOC_STAND_IN")  # folder of the driver that stands in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", params=list(BINDINGS))
def binding(request: pytest.FixtureRequest) -> str:
    """The name of a package that speaks to CUDA and is installed."""
    module = BINDINGS[request.param]
    if not importlib.util.find_spec(module.split(".")[0]) or not importlib.util.find_spec(module):
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def cuda(binding: str) -> Iterator[Cuda]:
    """A device, opened and closed."""
    try:
        device = open_cuda(binding)
    except (CudaError, MissingPackageError) as error:
        pytest.skip(f"no CUDA device: {error}")
    yield device
    device.close()


@pytest.fixture(scope="session")
def compile_kernels() -> Compile:
    """How sources become kernels of the device."""
    if STAND_IN is None:
        return kernel_image
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    from stand_in.build import KernelsOnCpu

    return KernelsOnCpu(Path(STAND_IN))


OpenGpu = Callable[..., Gpu]


@pytest.fixture
def open_gpu(binding: str, compile_kernels: Compile) -> Iterator[OpenGpu]:
    """Opens GPUs with the arguments of `Gpu`; closes them at the end."""
    opened: list[Gpu] = []

    def open_(**arguments: Any) -> Gpu:
        try:
            device = open_cuda(binding)
        except (CudaError, MissingPackageError) as error:
            pytest.skip(f"no CUDA device: {error}")
        opened.append(Gpu(device, compile=compile_kernels, **arguments))
        return opened[-1]

    yield open_
    for gpu in opened:
        gpu.close()
