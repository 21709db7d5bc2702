"""Engines that only know their size: for planning memory before any is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import EngineError
from ..memory import Arena
from .engine import Engine
from .engines import Engines
from .onnx_header import OnnxHeader, read_header


class PlannedEngine:
    """Takes the bindings that an engine of this file will take, and never runs."""

    def __init__(self, path: Path, header: OnnxHeader, arena: Arena) -> None:
        self.inputs: dict[str, NDArray[Any]] = {}
        self.outputs: dict[str, NDArray[Any]] = {}
        for target, bindings in ((self.inputs, header.inputs), (self.outputs, header.outputs)):
            for name, binding in bindings.items():
                if 0 in binding.shape:
                    raise EngineError(
                        f"{path}: '{name}' has the dynamic shape {binding.shape} (0: not fixed); "
                        f"expected fixed sizes (export it again with static shapes)"
                    )
                target[name] = arena.take(
                    f"engine.{path.stem}.{name}", binding.shape, binding.dtype
                )

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
        return PlannedEngine(path, header, self.arena)

    @property
    def headers(self) -> dict[Path, OnnxHeader]:
        """By file, in the order of opening."""
        found: dict[Path, OnnxHeader] = self.__dict__.setdefault("_headers", {})
        return found
