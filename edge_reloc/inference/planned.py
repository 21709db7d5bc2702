"""Engines that only know their size: for planning memory before any is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..bundle.layout import ENGINES
from ..bundle.reader import MapBundle
from ..cuda.gpu import Gpu
from ..errors import EngineError
from ..memory.arena import Arena
from .engine import Engine, OnHost
from .engine_key import find_engines
from .engines import Engines
from .onnx_header import OnnxHeader, read_header
from .tensorrt import TensorRtEngines

Take = Callable[[str, tuple[int, ...], str], NDArray[Any]]


class PlannedEngine(OnHost):
    """Takes the bindings that an engine of this file will take, and never runs."""

    def __init__(self, path: Path, header: OnnxHeader, take: Take) -> None:
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        for target, bindings in ((self.inputs, header.inputs), (self.outputs, header.outputs)):
            for name, binding in bindings.items():
                if 0 in binding.shape:
                    raise EngineError(
                        f"{path}: '{name}' has the dynamic shape {binding.shape} (0: not fixed); "
                        f"expected fixed sizes (export it again with static shapes)"
                    )
                target[name] = take(f"engine.{path.stem}.{name}", binding.shape, binding.dtype)

    def run(self) -> None:
        """Nothing: what is planned has no weights."""

    def close(self) -> None:
        """Nothing to give back."""


class PlannedEngines(Engines):
    """Opens every network of a bundle as a `PlannedEngine`; keeps their headers."""

    def _open(self, network: str) -> Engine:
        path = self.bundle.path(self._file(network))
        header = read_header(path)
        self.headers[path] = header
        return PlannedEngine(path, header, self.arena.take)

    @property
    def headers(self) -> dict[Path, OnnxHeader]:
        """By file, in the order of opening."""
        found: dict[Path, OnnxHeader] = self.__dict__.setdefault("_headers", {})
        return found


class PlannedOnGpu(PlannedEngine):
    """Its bindings lie on a GPU that only counts."""

    def address(self, name: str) -> int:
        """Somewhere: that it is not 0 is all that counts."""
        return 256

    def written_on_gpu(self, name: str) -> None:
        """Nothing is written."""


class PlannedTensorRtEngines(TensorRtEngines):
    """Takes in the GPU's ledger what engines will take; needs no TensorRT.

    Scratch is what lives between layers at once, an upper bound: TensorRT keeps less where
    it runs layers together. weights: bytes on the device, by network file.
    """

    def __init__(
        self, bundle: MapBundle, arena: Arena, gpu: Gpu, *, precision: str | None = None
    ) -> None:
        super().__init__(bundle, arena, gpu, precision=precision)
        self.weights: dict[str, int] = {}
        self._scratch = 0

    def ready(self) -> None:
        """What the engines share."""
        if self._scratch:
            self._gpu.arena.take("engines.scratch", self._scratch)

    def _open(self, network: str) -> Engine:
        file = self._file(network)
        path = self.bundle.path(file)
        header = read_header(path)
        folder = self.bundle.directory / ENGINES
        built = find_engines(folder, path.name) if folder.is_dir() else []
        self.weights[path.stem] = max(
            (record.plan_nbytes for record in built), default=path.stat().st_size
        )
        self._scratch = max(self._scratch, header.activation_bytes or 0)
        return PlannedOnGpu(path, header, self._take)

    def _take(self, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return self._gpu.arena.take_staged(name, shape, dtype).host
