"""Files that hold whole pieces at every moment."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from ..errors import SinkError


class WholeFile:
    """Every piece is handed to the system at once and whole.

    A piece that does not fit (disk full) is taken back, so that a reader never
    meets half a pose. Raises SinkError.
    """

    pieces = "messages"

    def __init__(self, path: Path) -> None:
        self._path = path
        #: of whole pieces
        self.nbytes = 0
        try:
            # Not "wb", which would empty the file of a program that is still writing it.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            self._stream = open(descriptor, "wb", buffering=0)  # noqa: SIM115 (for the whole run)
            self._take()
        except FileNotFoundError:
            raise SinkError(f"{path}: there is no folder {path.parent}; make it first") from None
        except OSError as error:
            raise SinkError(f"{path}: cannot be written ({error.strerror})") from error

    def _take(self) -> None:
        """Empty the file, which is ours from now on. Raises SinkError when it is another's."""
        import fcntl

        if not stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode):
            return
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise SinkError(
                f"{self._path}: another program is writing it, or it is named twice; name another"
            ) from None
        except OSError:  # a file system without locks
            pass
        self._stream.truncate(0)

    def append(self, piece: bytes) -> None:
        """Write a piece at the end."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # pipes and devices keep what they got
                self._stream.seek(self.nbytes)
                self._stream.truncate()
            raise SinkError(
                f"{self._path}: writing stopped ({error.strerror}); "
                f"the {self.pieces} before that are in the file"
            ) from error
        self.nbytes += len(piece)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._stream.close()
