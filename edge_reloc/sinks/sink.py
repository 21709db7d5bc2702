"""What every sink promises."""

from __future__ import annotations

from typing import Protocol

from ..structs import PoseEstimate


class Sink(Protocol):
    """Takes every estimate of a run, in order."""

    def write(self, estimate: PoseEstimate) -> None:
        """Pass one estimate on. Raises SinkError; what was written stays valid."""

    def close(self) -> None:
        """Finish; safe to call twice."""
