"""The tables of sinks: files by suffix, receivers by scheme, and what opens them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import ConfigError
from .background import LOOK_QUEUE_BYTES, QUEUE_BYTES
from .facts import RunFacts
from .jsonl import JsonlSink
from .options import above_zero
from .rate import at_most
from .sink import Sink
from .tum import TumSink

#: files, by suffix
SINKS: dict[str, Callable[[Path], Sink]] = {".jsonl": JsonlSink, ".tum": TumSink}
#: receivers, by how their address begins: module and class, which takes the address after the
#: colon and the RunFacts
SCHEMES: dict[str, str] = {
    "-": "stdout:StdoutSink",
    "udp": "udp:UdpSink",
    "shm": "shm:ShmSink",
    "mavlink": "mavlink:MavlinkSink",
    "ros2": "ros2:Ros2Sink",
    "mcap": "mcap:open_mcap",
    "rerun": "rerun:open_rerun",
    "foxglove": "foxglove:open_foxglove",
    "colmap": "colmap:ColmapSink",
}
#: files that are receivers, by suffix
FILE_SCHEMES = {".mcap": "mcap", ".rrd": "rerun"}
#: those that may want looks
DRAWING = ("foxglove", "mcap", "rerun")


def open_sink(address: str | Path, facts: RunFacts | None = None) -> Sink:
    """The sink of a file by its suffix, or of a receiver by its scheme; a file is replaced.

    "-" is standard output, a line of JSON a frame.

    `?rate=HZ` at the end of an address is for every receiver: at most so many poses a second.
    facts: of the run, for receivers that want more than poses. Raises ConfigError for an address
    that nothing takes, MissingPackageError where a receiver's package is missing, and SinkError
    for what cannot be opened.
    """
    scheme, rest = _scheme(address)
    if scheme is None:
        return _file(Path(address))
    if scheme not in SCHEMES:
        raise ConfigError(f"{address}: '{scheme}' is no kind of receiver; there are {_known()}")
    rest, rate_hz = _rate(address, rest)
    module, _, name = SCHEMES[scheme].partition(":")
    opener = getattr(importlib.import_module(f".{module}", __package__), name)
    sink: Sink = opener(rest, facts or RunFacts())
    return sink if rate_hz is None else at_most(sink, rate_hz)


def queue_bytes(address: str) -> int:
    """What waits for the sink of an address at most."""
    return LOOK_QUEUE_BYTES if _scheme(address)[0] in DRAWING else QUEUE_BYTES


def _scheme(address: str | Path) -> tuple[str | None, str]:
    """How an address begins, and the rest of it; None: a file without facts of the run."""
    found = re.match(r"([a-z][a-z0-9]+):|(-)(?=\?|$)", str(address))
    if found is None:
        file = str(address).partition("?")[0]  # options may follow
        return FILE_SCHEMES.get(Path(file).suffix), str(address)
    return found.group(1) or found.group(2), str(address)[found.end() :]


def _file(path: Path) -> Sink:
    if path.suffix not in SINKS:
        raise ConfigError(
            f"{path}: no format is known by the suffix '{path.suffix}'; expected {_known()}"
        )
    return SINKS[path.suffix](path)


def _known() -> str:
    schemes = (scheme if scheme == "-" else f"{scheme}:" for scheme in SCHEMES)
    return ", ".join([*SINKS, *FILE_SCHEMES, *schemes])


def _rate(address: str | Path, rest: str) -> tuple[str, float | None]:
    """An address without its `rate`, and that; None where there is none."""
    rest, _, query = rest.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    rates = [pair[len("rate=") :] for pair in pairs if pair.startswith("rate=")]
    others = "&".join(pair for pair in pairs if not pair.startswith("rate="))
    rest += f"?{others}" if others else ""
    try:
        return rest, above_zero(rates[-1]) if rates else None
    except ValueError:
        raise ConfigError(
            f"{address}: rate: found '{rates[-1]}' (expected poses a second, a number above 0)"
        ) from None
