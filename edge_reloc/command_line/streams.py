"""Standard output and error that cannot end a program's work by failing.

A disk that is full, or a reader that has gone away, is remembered instead of raised, and what
is printed from then on goes nowhere: the work is finished and kept, and then one line says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class PatientStream:
    """A text stream whose writes never raise OSError; `failure` is the first one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Pass text on, while that is possible; what the stream cannot spell, written out."""
        with self._remembered():
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                spelt = text.encode(error.encoding, "backslashreplace")
                self._stream.write(spelt.decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        """Hand over what is buffered, while that is possible."""
        with self._remembered():
            self._stream.flush()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            # What is still in the buffer is flushed once more at exit: let that go nowhere.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def patient_output() -> Iterator[PatientStream]:
    """While it is open both standard streams are patient; the one of standard output."""
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    nowhere = None
    if None in before:  # Python's word for a descriptor that was closed when it began
        nowhere = open(os.devnull, "w")  # noqa: SIM115 (closed below)
    out, err = (PatientStream(stream or cast(TextIO, nowhere)) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        err.flush()
        sys.stdout, sys.stderr = before
        if nowhere is not None:
            nowhere.close()


def _open_closed_descriptors() -> None:
    """Take the numbers 0 to 2, so that no file that is opened is written to by printing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
