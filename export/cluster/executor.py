"""Where units of work run: one narrow protocol, and what its addresses mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, TypeVar

from edge_reloc.errors import ConfigError

R = TypeVar("R")

ADDRESSES = "local, local:N, auto, ray://HOST:PORT or HOST:PORT"


class Executor(Protocol):
    """Runs units of work elsewhere; a context manager.

    A unit is a function at the top of a module, of plain arguments (paths, small dataclasses).
    It writes its result whole or not at all into the work folder that all workers share, and
    returns a reference at most: it may be run again, elsewhere, when its worker dies.
    """

    def submit(
        self, unit: Callable[..., R], *arguments: Any, cpus: float = 1, gpus: float = 0
    ) -> Future[R]:
        """Run unit(*arguments) where so many processors and GPUs are free."""

    def gather(self, futures: Iterable[Future[R]]) -> Iterator[R]:
        """Results in the order of submission; raises what a unit raised."""

    def close(self) -> None:
        """End what was started; units that are not done are given up."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_executor(address: str = "local") -> Executor:
    """The executor of an address; ConfigError for one that names none.

    local: a process of this machine for every core; local:N: N of them. auto: the Ray that runs
    here, else one is started. ray://HOST:PORT: a Ray cluster through its client server;
    HOST:PORT: one that this machine is a node of.
    """
    kind, _, count = address.partition(":")
    if kind == "local":
        return _local(address, count)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto" and (host in ("", "auto") or not port.isdecimal()):
        raise ConfigError(f"--cluster {address}: expected {ADDRESSES}")
    from .with_ray import RayExecutor

    return RayExecutor(address)


def _local(address: str, count: str) -> Executor:
    from .local import LocalExecutor

    if address == "local":
        return LocalExecutor(len(os.sched_getaffinity(0)))
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise ConfigError(f"--cluster {address}: expected {ADDRESSES}, N from 1 to 1024")
    return LocalExecutor(int(count))
