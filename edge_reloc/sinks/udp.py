"""One JSON object a datagram, the same as a line of `poses.jsonl`."""

from __future__ import annotations

import json
import logging
import re
import socket

from ..errors import ConfigError, SinkError
from ..structs import PoseEstimate
from .facts import RunFacts

log = logging.getLogger(__name__)


class UdpSink:
    """Sends without waiting; what the network does not take is counted in `unsent`.

    rest: `//host:port`. Whether anybody listens does not matter.
    """

    def __init__(self, rest: str, facts: RunFacts) -> None:
        self._name = f"udp:{rest}"
        host, port = _host_and_port(rest)
        #: datagrams that could not be sent
        self.unsent = 0
        self._socket: socket.socket | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            # Not connected: a port that nobody listens to is no error then.
            self._socket = socket.socket(family, kind, protocol)
            self._address = address
        except OSError as error:
            raise SinkError(f"{self._name}: cannot be sent to ({error.strerror})") from error
        self._socket.setblocking(False)

    def write(self, estimate: PoseEstimate) -> None:
        assert self._socket is not None, "closed"
        try:
            self._socket.sendto(
                json.dumps(estimate.to_json(), allow_nan=False).encode(), self._address
            )
        except OSError as error:  # a network that is away may come back
            self.unsent += 1
            if self.unsent == 1:
                log.warning("%s: a pose was not sent (%s)", self._name, error.strerror)

    def close(self) -> None:
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None


def _host_and_port(rest: str) -> tuple[str, int]:
    found = re.fullmatch(r"//(?:\[([^\]]+)\]|([^:/\[\]]+)):(\d{1,5})/?", rest)
    if found is None or not 0 < int(found.group(3)) < 1 << 16:
        raise ConfigError(f"udp:{rest}: expected udp://host:port, such as udp://127.0.0.1:5005")
    return found.group(1) or found.group(2), int(found.group(3))
