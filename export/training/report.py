"""What a training tells when it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

LITTLE = 0.5  # of what a method should find on mapping photos: it still gave most poses at 0.6

History = list[tuple[float, ...]]  #: iteration, loss and what is noted, for each report


def doubt(found: float) -> str:
    """A word where this share, of what a method should find, is little."""
    if found >= LITTLE:
        return ""
    return "; that is little: expect frames without a pose, or train longer"


@dataclass(frozen=True, kw_only=True)
class TrainingReport(ABC):
    """Kept as JSON in the work folder, and printed."""

    #: name of the JSON file
    FILE: ClassVar[str]
    #: why what was trained is not in the map; None where it is
    refusal: str | None = None

    @abstractmethod
    def summary(self) -> str:
        """Lines for the terminal."""

    def values(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)
