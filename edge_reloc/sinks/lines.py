"""A text file that holds whole lines at every moment."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..errors import SinkError


class LineFile:
    """Every line is handed to the system at once and whole.

    A line that does not fit (disk full) is taken back, so that a reader never
    meets half a pose. Raises SinkError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good_bytes = 0
        try:
            self._stream = open(path, "wb", buffering=0)  # noqa: SIM115 (open for the whole run)
        except FileNotFoundError:
            raise SinkError(f"{path}: there is no folder {path.parent}; make it first") from None
        except OSError as error:
            raise SinkError(f"{path}: cannot be written ({error.strerror})") from error

    def write(self, line: str) -> None:
        """Append a line (without its line end)."""
        rest = memoryview(line.encode() + b"\n")
        size = len(rest)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # pipes and devices keep what they got
                self._stream.seek(self._good_bytes)
                self._stream.truncate()
            raise SinkError(
                f"{self._path}: writing stopped ({error.strerror}); "
                f"the lines before that are in the file"
            ) from error
        self._good_bytes += size

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._stream.close()
