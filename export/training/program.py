"""How programs that train begin and end."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence

from edge_reloc.command_line.program import INTERRUPTED, Main, program

from .interruption import Interrupted, terminable


def training_program(main: Main) -> Callable[..., int]:
    """`program` for what trains: SIGTERM is as Ctrl-C, and one line says what is kept.

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
