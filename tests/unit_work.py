"""Tiny units of work, as workers import them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic


def square(number: int) -> int:
    return number * number


def write_square(path: Path, number: int) -> None:
    """A result on disk; how often it was made is counted beside it."""
    with path.with_suffix(".made").open("a") as stream:
        stream.write("x")
    write_atomic(path, str(number * number))


def die_at_first(mark: Path) -> str:
    """Killed as by the kernel the first time, well the second."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(photo: str, tries: Path) -> None:
    with tries.open("a") as stream:
        stream.write("x")
    raise MappingError(f"{photo}: no photo")


def fail() -> None:
    raise ValueError("our own mistake")


def threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def process_of(mark: Path) -> int:
    """Says who it is, then takes its time."""
    write_atomic(mark, str(os.getpid()))
    time.sleep(60)
    return os.getpid()
