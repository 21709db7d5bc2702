"""MCAP files (https://mcap.dev/spec) of a run, by Foxglove's schemas.

Addresses: `run.mcap` or `mcap:FILE`, with `?looks=HZ` (how often the image is kept, 0: never)
and `?quality=1..100` (of its JPEG).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

from ..errors import SinkError, missing_package
from ..messages.channel import encode
from ..messages.mcap import register
from ..structs import PoseEstimate
from .facts import RunFacts
from .look import Look
from .look_options import LOOK_OPTIONS, LOOKS_HZ, QUALITY
from .options import split_options
from .run_messages import CHANNELS, Message, RunMessages
from .whole_file import WholeFile

log = logging.getLogger(__name__)

# What a kill may take: a third of a second of a tracked stream.
CHUNK_BYTES = 32 << 10


def open_mcap(address: str, facts: RunFacts) -> McapSink:
    """The sink of an address. Raises ConfigError, SinkError, MissingPackageError."""
    path, options = split_options(address, LOOK_OPTIONS)
    sink = DrawingMcapSink if options.get("looks", LOOKS_HZ) > 0 else McapSink
    return sink(Path(path), facts, **options)


class McapSink:
    """Writes every message of a run.

    The file grows by whole chunks. One that was not closed (a kill, a full disk) lacks nothing
    but its index: `mcap recover` makes that, and readers that begin at the front do without.
    """

    def __init__(
        self, path: Path, facts: RunFacts, *, looks: float = LOOKS_HZ, quality: int = QUALITY
    ) -> None:
        try:
            from mcap.writer import Writer
        except ImportError:
            raise missing_package("mcap", str(path), "recording") from None
        self.looks_hz = looks
        self._messages = RunMessages(facts, quality)
        self._file, self._ended = _Stream(path), False
        self._writer = Writer(cast(IO[Any], self._file), chunk_size=CHUNK_BYTES)
        self._writer.start(library="edge_reloc")
        self._writer.add_metadata("edge_reloc.run", _about(facts))
        self._ids = register(self._writer, CHANNELS)

    def write(self, estimate: PoseEstimate) -> None:
        """Append what there is to say of an estimate. Raises SinkError."""
        self._add(self._messages.of_estimate(estimate))

    def close(self) -> None:
        """Write the index; safe to call twice."""
        if not self._ended:
            self._ended = True
            try:
                self._writer.finish()  # type: ignore[no-untyped-call]
            except SinkError as error:  # nobody writes any more whom it could be told
                log.warning("%s", error)
        self._file.close()

    def _add(self, messages: Iterable[Message]) -> None:
        try:
            for message in messages:
                self._writer.add_message(
                    self._ids[message.channel.topic],
                    max(message.t_ns, 0),
                    encode(message.content),
                    max(message.received_ns, 0),
                )
        except SinkError:
            self._ended = True  # the writer's own account is wrong from here on
            raise


class DrawingMcapSink(McapSink):
    """The same with images and what was found in them."""

    def draw(self, look: Look) -> None:
        """Append a look. Raises SinkError."""
        self._add(self._messages.of_look(look))


class _Stream(WholeFile):
    """As much of a binary stream as the writer uses."""

    def write(self, content: bytes) -> int:
        self.append(content)
        return len(content)

    def tell(self) -> int:
        return self.nbytes


def _about(facts: RunFacts) -> dict[str, str]:
    """Of live sources, times are those of CLOCK_MONOTONIC; the offset makes dates of them."""
    about = {"map": facts.map_name, "source": facts.source}
    if facts.live:
        about["unix_minus_monotonic_ns"] = str(time.time_ns() - time.monotonic_ns())
    return about
