"""Float16 networks with every value rounded, behind the runtime's engine protocol."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge_reloc.bundle import MapBundle
from edge_reloc.inference.engine import Engine
from edge_reloc.inference.engines import Engines
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Network, Settings

from ..float16.rounding import rounded
from ..onnx.model_file import load_graph


def write_rounded(bundle: MapBundle, networks: Iterable[Network], folder: Path) -> dict[str, Path]:
    """Rounding forms of a bundle's float16 networks, by the float32 file's name."""
    files = {}
    for index, network in enumerate(networks):
        path = folder / f"{index}.onnx"
        model = rounded(load_graph(bundle.path(network.float16_file)))
        path.write_bytes(model.SerializeToString())
        files[network.file] = path
    return files


class RoundedEngines(Engines):
    """Opens the files that `write_rounded` made instead of the bundle's."""

    def __init__(
        self, files: dict[str, Path], bundle: MapBundle, arena: Arena, settings: Settings
    ) -> None:
        super().__init__(bundle, arena, threads=settings.threads)
        self._files = files

    def _open(self, network: str) -> Engine:
        return open_engine(self._files[network], self.arena, threads=self.threads)
