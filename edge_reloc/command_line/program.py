"""How every program ends: known errors in one line, exit codes by kind."""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence

from ..errors import EdgeRelocError, one_line
from .cut_short import tell_of_files_cut_short
from .streams import patient_output
from .terminal import quiet_libraries

OK, KNOWN_ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130

#: of the machine and its disks, not of this program
SURROUNDINGS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
)

Main = Callable[[Sequence[str] | None], int]


def program(main: Main) -> Callable[..., int]:
    """Decorator of `main(argv=None) -> exit code`.

    An EdgeRelocError becomes one line on stderr and 1, and so do a disk that is full or
    read-only, a path that is too long and their like, wherever they are met, memory that does
    not suffice, and a package that cannot be loaded; Ctrl-C one line and 130. Output that cannot
    be printed ends no work: a reader that went away (`| head`) is silence and 0, a full disk one
    line and 1 at the end.
    Anything else is our own mistake and keeps its traceback. Logs of C libraries stay silent.
    """

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        quiet_libraries()
        tell_of_files_cut_short()
        with patient_output() as out:
            code = _ended(main, argv)
            out.flush()
            if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
                return _failed(f"standard output: cannot be written ({out.failure.strerror})")
            return code

    return guarded


def _ended(main: Main, argv: Sequence[str] | None) -> int:
    try:
        return main(argv)
    except EdgeRelocError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if _stands_nowhere():
            return _failed("the current folder was removed; call this from another one")
        if error.errno not in SURROUNDINGS:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        return _failed(f"{where}{error.strerror}")
    except MemoryError as error:
        return _failed(f"the memory does not suffice ({error or 'out of memory'})")
    except ImportError as error:
        if (error.name or "").startswith("edge_reloc"):
            raise
        return _failed(
            f"a package that this needs cannot be loaded: {error}; 'edge-reloc doctor' says what "
            f"this machine lacks"
        )


def ending_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM, and that the terminal went away, unless nohup said that it may."""
    hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangup else []))


def _stands_nowhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _failed(text: str) -> int:
    print(f"error: {one_line(text)}", file=sys.stderr)
    return KNOWN_ERROR
