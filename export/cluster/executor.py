"""Where units of work run: one narrow interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

R = TypeVar("R")


class Executor(ABC):
    """Runs units of work elsewhere; a context manager.

    A unit is a function at the top of a module, of plain arguments (paths, small dataclasses).
    It writes its result whole or not at all into the work folder that all workers share, and
    returns a reference at most: it may be run again, elsewhere, when its worker dies.
    """

    @abstractmethod
    def submit(
        self, unit: Callable[..., R], *arguments: Any, cpus: float = 1, gpus: float = 0
    ) -> Future[R]:
        """Run unit(*arguments) where so many processors and GPUs are free."""

    def gather(self, futures: Iterable[Future[R]]) -> Iterator[R]:
        """Results in the order of submission; raises what a unit raised."""
        for future in futures:
            yield future.result()

    @abstractmethod
    def close(self) -> None:
        """End what was started; units that are not done are given up."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
