"""The sink protocol, and the one place that chooses an implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError
from ..structs import PoseEstimate
from .jsonl import JsonlSink
from .tum import TumSink


class Sink(Protocol):
    """Takes every estimate of a run, in order."""

    def write(self, estimate: PoseEstimate) -> None:
        """Pass one estimate on. Raises SinkError; what was written stays valid."""

    def close(self) -> None:
        """Finish; safe to call twice."""


SINKS: dict[str, Callable[[Path], Sink]] = {".jsonl": JsonlSink, ".tum": TumSink}


def open_sink(path: str | Path) -> Sink:
    """The sink of a file, by its suffix; an existing file is replaced.

    Raises ConfigError for an unknown suffix and SinkError for a file that
    cannot be written.
    """
    path = Path(path)
    if path.suffix not in SINKS:
        raise ConfigError(
            f"{path}: no format is known by the suffix '{path.suffix}'; "
            f"expected one of {', '.join(SINKS)}"
        )
    return SINKS[path.suffix](path)
