"""Networks as torch runs them, behind the runtime's engine protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_reloc.bundle import MapBundle
from edge_reloc.errors import EngineError
from edge_reloc.inference.engine import Engine, OnHost
from edge_reloc.inference.engines import Engines
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings

from ..onnx.model_file import load_graph


class TorchEngine(OnHost):
    """A program that `export_module` left (.pt2), with the ONNX file's bindings."""

    def __init__(self, program: Path, onnx_file: Path) -> None:
        graph = load_graph(onnx_file).graph
        try:
            self._module = torch.export.load(str(program)).module()
        except Exception as error:  # torch raises a dozen unrelated classes
            raise EngineError(f"{program}: torch cannot load it ({error})") from error
        self.inputs: dict[str, NDArray[Any]] = {
            value.name: np.zeros(
                [d.dim_value for d in value.type.tensor_type.shape.dim], np.float32
            )
            for value in graph.input
        }
        self._names = [value.name for value in graph.output]
        self.outputs: dict[str, NDArray[Any]] = {}
        self.run()

    def run(self) -> None:
        """One inference; the outputs are new arrays every time."""
        with torch.no_grad():
            found = self._module(*(torch.from_numpy(x) for x in self.inputs.values()))
        self.outputs = {n: x.numpy() for n, x in zip(self._names, found, strict=True)}

    def close(self) -> None:
        """Nothing to give back."""


class TorchEngines(Engines):
    """Opens the torch programs that belong to a bundle's networks."""

    def __init__(
        self, programs: dict[str, Path], bundle: MapBundle, arena: Arena, settings: Settings
    ) -> None:
        super().__init__(bundle, arena)
        self._programs = programs

    def _open(self, network: str) -> Engine:
        return TorchEngine(self._programs[network], self.bundle.path(network))
