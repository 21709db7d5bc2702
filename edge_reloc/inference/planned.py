"""Engines that only know their size: for planning memory before any is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..bundle.layout import ENGINES
from ..bundle.manifest import NetworkDescription, TensorEntry
from ..bundle.reader import MapBundle
from ..cuda.gpu import Gpu
from ..errors import BundleError
from ..memory.arena import Arena
from .engine import Engine, OnHost
from .engine_key import find_engines
from .engines import Engines
from .network_check import check_network
from .tensorrt import TensorRtEngines

Take = Callable[[str, tuple[int, ...], str], NDArray[Any]]


class PlannedEngine(OnHost):
    """Takes the buffers that an engine of this network will take, and never runs."""

    def __init__(self, stem: str, network: NetworkDescription, take: Take) -> None:
        def taken(tensors: dict[str, TensorEntry]) -> dict[str, NDArray[Any]]:
            return {n: take(f"engine.{stem}.{n}", t.shape, t.dtype) for n, t in tensors.items()}

        self.inputs, self.outputs = taken(network.inputs), taken(network.outputs)

    def run(self) -> None:
        """Nothing: what is planned has no weights."""

    def close(self) -> None:
        """Nothing to give back."""


class PlannedEngines(Engines):
    """Opens every network of a bundle as a `PlannedEngine`."""

    def __init__(
        self,
        bundle: MapBundle,
        arena: Arena,
        *,
        precision: str | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        super().__init__(bundle, arena, precision=precision, gpu=gpu)
        #: what the manifest says of the networks, by file, in the order of opening
        self.headers: dict[Path, NetworkDescription] = {}

    def _open(self, network: str) -> Engine:
        file = self._file(network)
        path = self.bundle.path(file)
        self.headers[path] = _described(self.bundle, file)
        return PlannedEngine(path.stem, self.headers[path], self.arena.take)


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
    it runs layers together.
    """

    def __init__(
        self, bundle: MapBundle, arena: Arena, gpu: Gpu, *, precision: str | None = None
    ) -> None:
        super().__init__(bundle, arena, gpu, precision=precision)
        #: bytes on the device, by the name of the network file
        self.weights: dict[str, int] = {}
        self._scratch = 0

    def ready(self) -> None:
        """What the engines share."""
        if self._scratch:
            self._gpu.arena.take("engines.scratch", self._scratch)

    def _open(self, network: str) -> Engine:
        file = self._file(network)
        path = self.bundle.path(file)
        described = _described(self.bundle, file)
        folder = self.bundle.directory / ENGINES
        built = find_engines(folder, path.name) if folder.is_dir() else []
        self.weights[path.stem] = max(
            (record.plan_nbytes for record in built), default=path.stat().st_size
        )
        self._scratch = max(self._scratch, described.activation_bytes or 0)
        return PlannedOnGpu(path.stem, described, self._take)

    def _take(self, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return self._gpu.arena.take_staged(name, shape, dtype).host


class UndescribedNetworkError(BundleError):
    """What a network takes is not known before it is opened, so nothing can be planned."""


def _described(bundle: MapBundle, file: str) -> NetworkDescription:
    """What a network takes, once its file was found to take no more."""
    entry = bundle.manifest.files[file]
    network = entry.network
    if file not in bundle.checked_networks:
        found = check_network(bundle.path(file), network)
        bundle.checked_networks.add(file)
        if network is not None:  # the file knows what its description may leave out
            network = found
            bundle.manifest.files[file] = replace(entry, network=found)
    if network is None:
        raise UndescribedNetworkError(
            f"{bundle.directory}: does not say what '{file}' takes, as maps before 1.2 do not; "
            f"add it on the workstation with 'edge-reloc export describe --map {bundle.directory}'"
        )
    return network
