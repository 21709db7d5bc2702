"""ONNX Runtime on the CPU: the engine of machines without a GPU."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError, missing_package
from ..memory.arena import Arena
from .engine import Engine, OnHost

log = logging.getLogger(__name__)

WARM_UP = 2  # runs after which an engine holds all the memory it will ever use

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


_GROW_AS_ASKED = 1  # OrtArenaCfg's arena_extend_strategy; the default doubles
_shares_scratch: bool | None = None


def _share_scratch() -> bool:
    """One pool of scratch memory for all engines of the process, made once.

    Engines run one after the other, so that the largest alone decides. Without it each
    layer's output is taken from the system and given back, frame after frame: that costs
    page faults, and the heap frays until it holds twice as much.
    """
    global _shares_scratch
    if _shares_scratch is None:
        try:
            from onnxruntime.capi import _pybind_state as ort

            memory = ort.OrtMemoryInfo(
                "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
            )
            ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, _GROW_AS_ASKED, -1, -1))
            _shares_scratch = True
        except (AttributeError, RuntimeError, TypeError):  # a version that does it otherwise
            _shares_scratch = False
    return _shares_scratch


class OnnxRuntimeEngine(OnHost):
    """An ONNX network whose inputs and outputs live in the arena."""

    def __init__(self, path: Path, arena: Arena, *, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise missing_package("onnxruntime", f"{path.name}", "cpu") from None
        if not path.is_file():
            raise EngineError(f"{path}: no such network file")
        options = onnxruntime.SessionOptions()
        if _share_scratch():
            options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False  # it takes the pool's largest piece twice
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning worker threads steal the cores that the next stage needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise EngineError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self._binding = self._session.io_binding()
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        self._name = role = path.stem
        for node in self._session.get_inputs():
            self.inputs[node.name] = self._take(arena, role, node, path)
            self._bind(self._binding.bind_input, node.name, self.inputs[node.name])
        for node in self._session.get_outputs():
            self.outputs[node.name] = self._take(arena, role, node, path)
            self._bind(self._binding.bind_output, node.name, self.outputs[node.name])

        try:
            for _ in range(WARM_UP):
                self._session.run_with_iobinding(self._binding)
        except Exception as error:  # the same
            raise EngineError(f"{path}: ONNX Runtime cannot run it: {error}") from error

    @staticmethod
    def _take(arena: Arena, role: str, node: Any, path: Path) -> NDArray[Any]:
        if not all(isinstance(size, int) and size > 0 for size in node.shape):
            raise EngineError(
                f"{path}: '{node.name}' has the dynamic shape {node.shape}; "
                f"expected fixed sizes (export it again with static shapes)"
            )
        if node.type not in _DTYPES:
            raise EngineError(f"{path}: '{node.name}' is {node.type}; expected {list(_DTYPES)}")
        return arena.take(f"engine.{role}.{node.name}", tuple(node.shape), _DTYPES[node.type])

    @staticmethod
    def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
        bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self) -> None:
        """One inference from `inputs` into `outputs`, zeros where the network fails on them."""
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # such as an index that it computes and that does not exist
            log.warning("%s failed on this frame: %s", self._name, error)
            for array in self.outputs.values():
                array[:] = 0

    def close(self) -> None:
        """Drop the session and its weights."""
        del self._binding, self._session


def open_engine(path: Path, arena: Arena, *, threads: int = 0) -> Engine:
    """Open an ONNX file; buffers come from the arena. Raises EngineError.

    threads: 0 lets the engine take every core.
    """
    return OnnxRuntimeEngine(path, arena, threads=threads)
