"""What stands in for TensorRT has no name that the real packages lack."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tensorrt_rtx", "tensorrt_lean", "tensorrt")
SOURCE = (ROOT / "edge_reloc" / "inference" / "tensorrt.py").read_text()
# Of packages that only some plans need: refitting, and what tensorrt_rtx compiles.
ONLY_FULL = {"Refitter", "OnnxParserRefitter"}


@pytest.fixture(params=PACKAGES)
def real(request: pytest.FixtureRequest) -> Any:
    """A real package, imported and never run: that would need a driver."""
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


def stand_in() -> dict[str, list[str]]:
    """Public names of the stand-in and of its classes, without importing it."""
    text = (ROOT / "tests" / "gpu" / "stand_in" / "tensorrt.py").read_text()
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        if found := re.match(r"class (\w+)", line):
            members = names.setdefault(found[1], [])
        elif (
            (found := re.match(r"    def ([a-z]\w+)\(", line))
            or (found := re.match(r"    ([A-Z]\w+) = \d", line))
            or (found := re.match(r"        self\.([a-z]\w+) = ", line))
        ):
            members.append(found[1])
        elif found := re.match(r"def ([a-z]\w+)\(", line):
            names[found[1]] = []
    return names


def test_every_name_exists(real: Any) -> None:
    names = stand_in()
    assert {"Runtime", "ICudaEngine", "IExecutionContext", "nptype"} <= set(names)
    for name, members in names.items():
        found = getattr(real, name)
        for member in members:
            assert hasattr(found, member), f"{real.__name__}.{name}.{member}"


def test_every_name_that_the_runtime_uses_exists(real: Any) -> None:
    used = set(re.findall(r"(?:self|package)\.(?:_package\.)?module\.(\w+)", SOURCE))
    assert {"Runtime", "TensorIOMode", "ExecutionContextAllocationStrategy"} <= used
    assert used >= ONLY_FULL
    wanted = used if real.__name__ == "tensorrt" else used - ONLY_FULL
    assert not [name for name in wanted if not hasattr(real, name)]


def test_calls_take_what_they_are_given(real: Any) -> None:
    context, engine = real.IExecutionContext, real.ICudaEngine
    for method, words in (
        (context.set_tensor_address, ("name: str", "memory")),
        (context.set_device_memory, ("memory", "size")),
        (context.execute_async_v3, ("stream_handle",)),
        (engine.get_tensor_mode, ("name: str",)),
        (engine.create_execution_context, ("strategy",)),
        (real.Runtime.deserialize_cuda_engine, ("serialized_engine",)),
    ):
        for word in words:
            assert word in method.__doc__, f"{method}: {word}"
    assert isinstance(engine.device_memory_size_v2, property)


def test_tensorrt_rtx_compiles_and_keeps() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    for kind, members in (
        (rtx.ICudaEngine, ["create_runtime_config"]),
        (
            rtx.IRuntimeConfig,
            [
                "set_execution_context_allocation_strategy",
                "create_runtime_cache",
                "set_runtime_cache",
            ],
        ),
        (rtx.IRuntimeCache, ["deserialize", "serialize"]),
        (rtx.IExecutionContext, ["is_stream_capturable"]),
    ):
        assert not [name for name in members if not hasattr(kind, name)]


def test_importing_the_runtime_imports_no_package() -> None:
    code = "import sys, edge_reloc.inference.tensorrt, edge_reloc.localizer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {*PACKAGES, "pycuda", "cuda.bindings", "torch", "onnxruntime"}
