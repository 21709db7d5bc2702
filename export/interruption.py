"""Ctrl-C, SIGTERM and SIGHUP in long work: what was done is kept, and one line says where."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from edge_reloc.command_line.program import INTERRUPTED, Main, ending_signals, program

PATIENCE_S = 2.0  # a second signal within it is the first one again


class Interrupted(KeyboardInterrupt):
    """A training ended between two steps, its checkpoint written; the text says where."""


class Interruption:
    """While it is open, Ctrl-C, SIGTERM and SIGHUP are noted instead of raised: `asked` says so.

    A second signal after PATIENCE_S does not wait; at once it is the same one, told to the
    process and to its group. Elsewhere than in the main thread signals stay as they are.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked_s = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for kind in ending_signals():
                self._before[kind] = signal.signal(kind, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._asked_s = True, time.monotonic()
        elif time.monotonic() - self._asked_s > PATIENCE_S:
            raise KeyboardInterrupt


def long_program(main: Main) -> Callable[..., int]:
    """`program` for long work: SIGTERM and SIGHUP are as Ctrl-C, and one line says what is kept.

    Torch's threads sleep while they wait for each other, unless the environment says
    otherwise: spinning, a step took four times as long on cores that others use too.
    """

    @functools.wraps(main)
    def interruptible(argv: Sequence[str] | None = None) -> int:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded
        with terminable():
            try:
                return main(argv)
            except Interrupted as kept:
                print(f"interrupted: {kept}", file=sys.stderr)
                return INTERRUPTED

    return program(interruptible)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is inside as Ctrl-C does, with its line and exit code."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = [kind for kind in ending_signals() if kind != signal.SIGINT]
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
