"""What sources have in common whose frames lie in files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from ..structs import Frame


class InFiles(ABC):
    """Frames that wait to be asked for: none is late, none is lost, and the end is the end."""

    live = False
    #: files do not go away
    fault = None

    def __init__(self) -> None:
        self.dropped = 0
        self.skipped: list[str] = []
        self.ended = False
        self._waited_for: Iterator[Frame] | None = None

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """All of them, from the first."""

    def __iter__(self) -> Iterator[Frame]:
        self.ended = False
        yield from self._frames()
        self.ended = True

    def wait(self, timeout_s: float) -> Frame | None:
        """The next frame at once, None at the end."""
        if self._waited_for is None:
            self._waited_for = iter(self)
        return next(self._waited_for, None)

    def close(self) -> None:  # noqa: B027  (most hold nothing open)
        """Let go of what is open."""
