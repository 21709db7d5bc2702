"""TensorRT's runtime without a GPU: plans hold an ONNX file, ONNX Runtime executes them.

It is as strict as the real one is dangerous: every address set before an engine is
enqueued, scratch that is large enough and aligned. It has no name that the real packages
lack (a test compares them).
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np
import onnxruntime

__version__ = "10.3.0"
MAGIC = b"stand-in plan\0"
SCRATCH_BYTES = 4096
NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int32)": np.int32}

_calls: list[Any] = []  # all that was ever enqueued; graphs run it again
_driver = ctypes.CDLL("libcuda.so.1")
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_long)


def _run(number: int) -> None:
    _calls[number]()


_run_by_number = _CALL(_run)


class TensorIOMode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    USER_MANAGED = 2


class ILogger:
    ERROR = 1

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


def nptype(kind: Any) -> Any:
    return kind


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        if not plan.startswith(MAGIC):
            self._logger.log(ILogger.ERROR, "magicTag does not match\nsecond line")
            return None
        return ICudaEngine(plan[len(MAGIC) :])


class ICudaEngine:
    def __init__(self, onnx: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx, options)
        self._inputs = {node.name: node for node in self._session.get_inputs()}
        self._outputs = {node.name: node for node in self._session.get_outputs()}
        self._names = [*self._inputs, *self._outputs]
        self.num_io_tensors = len(self._names)
        self.device_memory_size_v2 = SCRATCH_BYTES + len(onnx) // 256 * 256

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple({**self._inputs, **self._outputs}[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return NUMPY[{**self._inputs, **self._outputs}[name].type]

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> IExecutionContext:
        assert strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._of = engine
        self._addresses: dict[str, int] = {}
        self._scratch = 0

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._of._names and memory % 256 == 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0
        self._scratch = size

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._scratch >= self._of.device_memory_size_v2, "too little scratch"
        addresses = dict(self._addresses)
        if set(addresses) != set(self._of._names):
            return False
        _calls.append(lambda: self._execute(addresses))
        number = ctypes.c_long(len(_calls) - 1)
        return not _driver.stand_in_ask(ctypes.c_void_p(stream_handle), _run_by_number, number)

    def _execute(self, addresses: dict[str, int]) -> None:
        of = self._of
        feeds = {name: self._array(name, addresses[name]) for name in of._inputs}
        found = of._session.run(list(of._outputs), feeds)
        for name, value in zip(of._outputs, found, strict=True):
            self._array(name, addresses[name])[...] = value

    def _array(self, name: str, address: int) -> np.ndarray:
        shape, kind = self._of.get_tensor_shape(name), self._of.get_tensor_dtype(name)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        flat = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return flat.view(kind).reshape(shape)
