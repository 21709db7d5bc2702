"""One GPU as the runtime uses it: a device, its memory, one stream, and kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..bundle.points import PointMap
from .arena import DeviceArena
from .driver import Cuda
from .graph import Graph
from .kernels import kernel_image
from .resident import ResidentDescriptors

Compile = Callable[[str, Mapping[str, int], str], bytes]


class Gpu:
    """A device of which everything runs on `stream`, in order.

    compile: makes machine code of (source, definitions, target). mapped: of
    `DeviceArena`. graphs: whether the work of every frame is captured once.
    """

    def __init__(
        self,
        cuda: Cuda,
        *,
        budget_bytes: int | None = None,
        mapped: bool | None = None,
        graphs: bool = True,
        compile: Compile = kernel_image,
    ) -> None:
        self.cuda = cuda
        self.arena = DeviceArena(cuda, budget_bytes=budget_bytes, mapped=mapped)
        self.stream = cuda.create_stream()
        self._compile = compile
        self._graphs: list[Graph] | None = [] if graphs else None
        self._resident: ResidentDescriptors | None = None
        self._closed = False

    def resident(self, points: PointMap) -> ResidentDescriptors:
        """The map's descriptors in device memory: taken once, for all who ask."""
        if self._resident is None:
            self._resident = ResidentDescriptors(points, self.arena, self.stream)
        return self._resident

    def kernels(self, source: str, defines: Mapping[str, int]) -> Kernels:
        """Kernels of a source in `kernels/`, compiled for this device."""
        image = self._compile(source, defines, self.cuda.info.target)
        return Kernels(self.cuda, self.cuda.load(image), self.stream)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What does the same as `enqueue`, as one graph where graphs are used.

        enqueue: launches kernels and fills memory, with arguments that never change.
        """
        if self._graphs is None:
            return enqueue
        graph = Graph(self.stream, enqueue)
        self._graphs.append(graph)
        return graph.launch

    def synchronize(self) -> None:
        """Wait until all that the stream holds is done."""
        self.cuda.synchronize(self.stream)

    def close(self) -> None:
        """Give everything back; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self.synchronize()
        for graph in self._graphs or []:
            graph.close()
        self.arena.close()
        self.cuda.destroy_stream(self.stream)
        self.cuda.close()


class Kernels:
    """The kernels of one source."""

    def __init__(self, cuda: Cuda, module: Any, stream: int) -> None:
        self._cuda, self._module, self._stream = cuda, module, stream
        self._functions: dict[str, Any] = {}

    def launch(
        self, name: str, blocks: tuple[int, int], threads: int, *arguments: np.generic
    ) -> None:
        """Put a kernel into the stream, on blocks (x, y) of some threads."""
        if name not in self._functions:
            self._functions[name] = self._cuda.function(self._module, name)
        grid, block = (*blocks, 1), (threads, 1, 1)
        self._cuda.launch(self._functions[name], grid, block, arguments, self._stream)
