"""CUDA graphs: work that is captured once and launched again in one call.

Of the driver's library itself, since pycuda does not know graphs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from .driver import CudaError

THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


class Graph:
    """All that `enqueue` puts into a stream: captured now, which runs nothing.

    CudaError when something in it cannot be captured, such as taking memory.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream)
        self._graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        begin = "begin to capture a graph"
        self._call(begin, "cuStreamBeginCapture_v2", self._stream, ctypes.c_int(THREAD_LOCAL))
        try:
            enqueue()
        finally:
            ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(self._graph))
        if ended:
            raise CudaError(f"CUDA: capture a graph: refused (error {ended})")
        self._call(
            "instantiate a graph",
            "cuGraphInstantiateWithFlags",
            ctypes.byref(self._executable),
            self._graph,
            ctypes.c_ulonglong(0),
        )

    def launch(self) -> None:
        """Put all of it into the stream, asynchronous."""
        self._call("launch a graph", "cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Give the graph back; a second time does nothing."""
        for what, destroy in (
            (self._executable, "cuGraphExecDestroy"),
            (self._graph, "cuGraphDestroy"),
        ):
            if what:
                self._call("give a graph back", destroy, what)
                what.value = None

    def _call(self, doing: str, name: str, *arguments: object) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise CudaError(f"CUDA: {doing}: refused (error {code})")
