"""What a training tells when it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

History = list[tuple[float, ...]]  #: iteration, loss and what is noted, for each report


@dataclass(frozen=True, kw_only=True)
class TrainingReport(ABC):
    """Kept as JSON in the work folder, and printed."""

    #: name of the JSON file
    FILE: ClassVar[str]

    @abstractmethod
    def summary(self) -> str:
        """Lines for the terminal."""

    def values(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)
