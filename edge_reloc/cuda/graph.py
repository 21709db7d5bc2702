"""CUDA graphs: what was asked of a stream once, asked again in one call.

Of the driver's library itself, since pycuda does not know graphs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from .driver import CudaError

THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


class Graph:
    """All that `record` asks of a stream, recorded now and never run by that.

    CudaError when something in it cannot be recorded, such as taking memory.
    """

    def __init__(self, stream: int, record: Callable[[], None]) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream)
        self._graph, self._runnable = ctypes.c_void_p(), ctypes.c_void_p()
        begin = "begin to record a graph"
        self._ask(begin, "cuStreamBeginCapture_v2", self._stream, ctypes.c_int(THREAD_LOCAL))
        try:
            record()
        finally:
            ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(self._graph))
        if ended:
            raise CudaError(f"CUDA: record a graph: refused (error {ended})")
        self._ask(
            "make a graph runnable",
            "cuGraphInstantiateWithFlags",
            ctypes.byref(self._runnable),
            self._graph,
            ctypes.c_ulonglong(0),
        )

    def run(self) -> None:
        """Ask the stream for all of it, asynchronous."""
        self._ask("run a graph", "cuGraphLaunch", self._runnable, self._stream)

    def close(self) -> None:
        """Give the graph back."""
        for what, destroy in (
            (self._runnable, "cuGraphExecDestroy"),
            (self._graph, "cuGraphDestroy"),
        ):
            if what:
                self._ask("give a graph back", destroy, what)
                what.value = None

    def _ask(self, doing: str, name: str, *arguments: object) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise CudaError(f"CUDA: {doing}: refused (error {code})")
