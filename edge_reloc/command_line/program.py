"""How every program ends: known errors in one line, exit codes by kind."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence

from ..errors import EdgeRelocError
from .terminal import quiet_libraries

OK, KNOWN_ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130

Main = Callable[[Sequence[str] | None], int]


def program(main: Main) -> Callable[..., int]:
    """Decorator of `main(argv=None) -> exit code`.

    An EdgeRelocError becomes one line on stderr and 1, Ctrl-C one line and
    130, a reader that went away (`| head`) silence and 0. Anything else is
    our own mistake and keeps its traceback. Logs of C libraries stay silent.
    """

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        quiet_libraries()
        try:
            code = main(argv)
            sys.stdout.flush()
            return code
        except EdgeRelocError as error:
            print(f"error: {error}", file=sys.stderr)
            return KNOWN_ERROR
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # Python flushes stdout once more at exit: let that go nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK

    return guarded
