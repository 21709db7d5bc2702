"""A file that is cut short while it is mapped ends the process: with one line, at least.

The system sends SIGBUS at the next look at what is gone, and no Python handler can run before
the look is over, which it never is. So the handler is one of C that calls Python, as any
callback from a library does, and does not return.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

CUT_SHORT = 1  # the exit code
LINE = (
    b"error: a file that was in use has been cut short or its disk has failed, most likely one of "
    b"the map; replace a map as a whole instead of writing into its files, and start again\n"
)

_handler: Any = None  # kept for as long as the system may call it


def tell_of_files_cut_short() -> None:
    """For programs, at their very beginning: from now on SIGBUS is one line and 1."""
    global _handler
    if _handler is not None or sys.platform != "linux":
        return
    try:
        terminal = sys.stderr.fileno()
        libc = ctypes.CDLL(None)
    except (AttributeError, OSError, ValueError):  # no stderr, or a stand-in
        return

    def told(number: int) -> None:
        os.write(terminal, LINE)
        os._exit(CUT_SHORT)

    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, kind], ctypes.c_void_p
    _handler = kind(told)
    libc.signal(signal.SIGBUS, _handler)
