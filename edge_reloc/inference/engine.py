"""The engine protocol: a network with fixed, named buffers, and `run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from ..errors import EngineError


class Engine(Protocol):
    """A network with static shapes, bound once to fixed buffers."""

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Write these before `run`."""

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Valid until the next `run`."""

    def address(self, name: str) -> int:
        """Where an input or output lies on the GPU; 0 when it does not."""

    def written_on_gpu(self, name: str) -> None:
        """This input is written where it lies on the GPU, never from the host."""

    def run(self) -> None:
        """One inference from `inputs` into `outputs`."""

    def close(self) -> None:
        """Give the network's memory back."""


class OnHost:
    """What engines say of the GPU that do not run there."""

    def address(self, name: str) -> int:
        return 0

    def written_on_gpu(self, name: str) -> None:
        raise EngineError(f"input '{name}' does not lie on a GPU")
