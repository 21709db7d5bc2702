"""Units with results on disk: what is there is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..progress import open_bar
from .executor import Executor


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work and the file that it writes, whole or not at all.

    The name of the file holds the hash of all that the result depends on: code, inputs and
    options. So a result that is there is the result, whoever made it, and when.
    """

    run: Callable[..., object]
    arguments: tuple[Any, ...]
    result: Path | None = None  #: None: what is missing was found out before
    size: int = 1  #: pieces that a bar counts
    cpus: float = 1
    gpus: float = 0


def finish(
    executor: Executor,
    units: Sequence[Unit],
    name: str,
    piece: str,
    *,
    done: int = 0,
    progress: bool = True,
    tolerate: type[BaseException] | tuple[type[BaseException], ...] = (),
) -> list[BaseException]:
    """Run the units whose results are missing; raises the first error that one raised.

    name, piece: of the bar. done: pieces that were done before, for the bar. tolerate: errors
    that say something of their unit alone; they come back, and the others go on.
    """
    missing = [unit for unit in units if unit.result is None or not unit.result.exists()]
    total = done + sum(unit.size for unit in units)
    with open_bar(total, name, piece, shown=progress) as bar:
        bar.update(total - sum(unit.size for unit in missing))
        size_of: dict[Future[object], int] = {
            executor.submit(unit.run, *unit.arguments, cpus=unit.cpus, gpus=unit.gpus): unit.size
            for unit in missing
        }
        left, failures = set(size_of), []
        try:
            while left:
                ended, left = wait(left, return_when=FIRST_COMPLETED)
                for future in ended:
                    try:
                        future.result()
                    except tolerate as error:
                        failures.append(error)
                    bar.update(size_of[future])
        finally:
            for future in left:
                future.cancel()
    return failures
