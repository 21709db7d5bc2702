"""A process that runs units of work, one after the other, for the process that started it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection

from edge_reloc.command_line.terminal import quiet_libraries

from .. import progress
from .outcome import run_unit

PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Answer (unit, arguments) with an outcome until the other end of the pipe is closed."""
    _end_with(parent)
    quiet_libraries()
    progress.shown_here = False
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with Connection(descriptor) as pipe, contextlib.suppress(EOFError, ConnectionError):
        while True:
            unit, arguments = pipe.recv()
            pipe.send(run_unit(unit, arguments))


def _end_with(parent: int) -> None:
    """Die when `parent` is killed: who starts the work again finds nobody else at it (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # killed before we asked
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
