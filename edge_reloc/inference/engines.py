"""The engines of one bundle: which file of a network is opened, and how."""

from __future__ import annotations

from ..bundle.reader import MapBundle
from ..cuda.gpu import Gpu
from ..errors import ConfigError
from ..memory.arena import Arena
from .engine import Engine
from .network_check import check_network
from .onnxruntime import open_engine

PRECISIONS = ("float32", "float16")


class Engines:
    """Opens the networks of a bundle by their names; closes them together.

    precision: "float32" or "float16" insists on that version of every network;
    None takes float32 where the bundle has it: on a CPU it is the faster one.
    threads: of each engine, 0 for every core.
    """

    def __init__(
        self,
        bundle: MapBundle,
        arena: Arena,
        *,
        precision: str | None = None,
        threads: int = 0,
        gpu: Gpu | None = None,
    ) -> None:
        self.bundle = bundle
        self.arena = arena
        self._precision = precision
        self.threads = threads
        #: where the networks run, or something else of the line does
        self.gpu = gpu
        self._opened: list[Engine] = []

    @property
    def name(self) -> str:
        """What runs the networks, for people."""
        return "ONNX Runtime"

    def open(self, network: str) -> Engine:
        """The engine of a network, by the name of its float32 file.

        Raises BundleError or ConfigError when the bundle lacks the version asked for,
        EngineError when it cannot be loaded.
        """
        engine = self._open(network)
        self._opened.append(engine)
        return engine

    def ready(self) -> None:
        """All networks are open: take what they share, before the first frame."""

    def close(self) -> None:
        """Give every engine's memory back."""
        while self._opened:
            self._opened.pop().close()

    def _open(self, network: str) -> Engine:
        """What a subclass replaces to run networks in another way."""
        file = self._file(network)
        path = self.bundle.path(file)
        if file not in self.bundle.checked_networks:  # they are when memory was planned
            check_network(path, self.bundle.manifest.files[file].network)
            self.bundle.checked_networks.add(file)
        return open_engine(path, self.arena, threads=self.threads)

    def _file(self, network: str) -> str:
        entry = self.bundle.manifest.networks.get(network)
        float16 = entry.float16 if entry else None
        if self._precision == "float16" and float16 is None:
            raise ConfigError(
                f"{self.bundle.directory}: has no float16 version of '{network}'; make one with "
                f"'edge-reloc export onnx --map {self.bundle.directory}'"
            )
        if self._precision == "float32" and float16 and not self.bundle.has(network):
            raise ConfigError(
                f"{self.bundle.directory}: holds '{network}' in float16 only; "
                f"choose --precision float16, or take the bundle that it was exported from"
            )
        if float16 and (self._precision == "float16" or not self.bundle.has(network)):
            return float16
        return network
