"""What the addresses of executors mean."""

from __future__ import annotations

import os

from edge_reloc.errors import ConfigError

from .executor import Executor
from .local import LocalExecutor

ADDRESSES = "local, local:N, auto, ray://HOST:PORT or HOST:PORT"


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
    if address == "local":
        return LocalExecutor(len(os.sched_getaffinity(0)))
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise ConfigError(f"--cluster {address}: expected {ADDRESSES}, N from 1 to 1024")
    return LocalExecutor(int(count))
