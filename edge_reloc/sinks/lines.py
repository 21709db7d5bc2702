"""A text file that holds whole lines at every moment."""

from __future__ import annotations

from .whole_file import WholeFile


class LineFile(WholeFile):
    """A text file of whole lines."""

    pieces = "lines"

    def write(self, line: str) -> None:
        """Append a line (without its line end)."""
        self.append(line.encode() + b"\n")
