"""Parameters of an autopilot, read over MAVLink."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from ..errors import ConfigError, SinkError
from ..sinks.mavlink import AUTOPILOTS, COMPONENT, dialect
from ..sinks.mavlink_link import Link, open_link
from ..sinks.mavlink_messages import heartbeat

HEARTBEAT_S = 5.0  # until the autopilot must have spoken
TRIES, TRY_S = 3, 0.7
# MAV_PARAM_TYPE: how PX4 puts whole numbers into the four bytes of a float
BYTES_OF = {1: "<Bxxx", 2: "<bxxx", 3: "<Hxx", 4: "<hxx", 5: "<I", 6: "<i"}


def read_parameters(address: str, names: Iterable[str], autopilot: str) -> dict[str, float | None]:
    """Values by name, None where the autopilot has none. Raises ConfigError, SinkError."""
    link = open_link(address.removeprefix("mavlink:"))
    try:
        return Questions(link, address, autopilot).ask(names)
    finally:
        link.close()


class Questions:
    """A conversation with an autopilot. Raises ConfigError where another one answers."""

    def __init__(self, link: Link, address: str, autopilot: str) -> None:
        self._link, self._dialect = link, dialect()
        self._mav = self._dialect.MAVLink(None, 255, COMPONENT)
        self._mav.robust_parsing = True
        self._bytewise = autopilot == "px4"
        self._system = self._greet(address, autopilot)

    def ask(self, names: Iterable[str]) -> dict[str, float | None]:
        """Values by name."""
        return {name: self._ask(name) for name in names}

    def _greet(self, address: str, autopilot: str) -> int:
        """Number of the vehicle."""
        end_s = time.monotonic() + HEARTBEAT_S
        while time.monotonic() < end_s:
            self._send("heartbeat", **heartbeat())
            for message in self._heard(0.5):
                name = AUTOPILOTS.get(getattr(message, "autopilot", -1))
                if message.get_type() != "HEARTBEAT" or name is None:
                    continue
                if name != autopilot:
                    raise ConfigError(f"{address}: {name} answers; say --autopilot {name}")
                return int(message.get_srcSystem())
        raise SinkError(
            f"{address}: no autopilot speaks there for {HEARTBEAT_S:g} s; is it on, and is this "
            f"port its MAVLink port, at this rate?"
        )

    def _ask(self, name: str) -> float | None:
        for _ in range(TRIES):
            self._send(
                "param_request_read",
                target_system=self._system,
                target_component=1,
                param_id=name.encode(),
                param_index=-1,
            )
            for message in self._heard(TRY_S):
                if message.get_type() == "PARAM_VALUE" and message.param_id == name:
                    return self._number(message)
        return None

    def _number(self, message: Any) -> float:
        layout = BYTES_OF.get(message.param_type) if self._bytewise else None
        if layout is None:
            return float(message.param_value)
        return float(struct.unpack(layout, struct.pack("<f", message.param_value))[0])

    def _heard(self, seconds: float) -> Iterator[Any]:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            yield from self._mav.parse_buffer(self._link.receive(left_s)) or ()

    def _send(self, name: str, **fields: Any) -> None:
        module: ModuleType = self._dialect
        self._link.send(getattr(module, f"MAVLink_{name}_message")(**fields).pack(self._mav))
        self._mav.seq = (self._mav.seq + 1) % 256
