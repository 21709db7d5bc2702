"""What a unit of work came to, in the process that ran it."""

from __future__ import annotations

import contextlib
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_reloc.errors import EdgeRelocError

#: runs of one unit, each ended by the death of its worker, before it is given up
TRIES = 3
#: of every worker: sums of more threads may end otherwise, and units share the cores
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class WorkerError(EdgeRelocError):
    """A unit of work could not be run, or workers cannot be had."""


class RemoteTrace(Exception):
    """Where another process failed, as its own traceback tells it."""


@dataclass(frozen=True)
class Outcome:
    """The result of a unit, or its error; it travels between processes."""

    value: Any = None
    error: BaseException | None = None
    trace: str = ""  #: of an error

    def result(self) -> Any:
        """The value; raises the unit's own error."""
        if self.error is not None:
            raise self.error from RemoteTrace(self.trace)
        return self.value


def run_unit(unit: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Run a unit here; whatever it raises is part of the outcome."""
    try:
        return Outcome(unit(*arguments))
    except Exception as error:
        trace = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an error that cannot travel
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return Outcome(error=error, trace=trace)


def run_unit_in(folder: str, unit: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """The same with paths that begin in a folder, where this machine has it."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    return run_unit(unit, arguments)


def name_of(unit: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    """A unit for people: what it does, and to what."""
    paths = [str(value) for value in arguments if isinstance(value, Path)]
    return f"{getattr(unit, '__name__', unit)}({paths[-1] if paths else ''})"


def given_up(unit: Callable[..., Any], arguments: tuple[Any, ...], how: str) -> WorkerError:
    """The one line about a unit whose workers all died."""
    return WorkerError(
        f"{name_of(unit, arguments)}: {TRIES} workers that ran it ended before it was done "
        f"({how}); where memory does not suffice take fewer workers or smaller tiles; the "
        f"same command goes on from what is done"
    )
