"""The line to an autopilot: datagrams, a TCP stream or a serial port, none of which blocks.

What cannot be sent at once is dropped: an old pose is worth nothing to a filter.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
import threading
import time
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, SinkError

log = logging.getLogger(__name__)

MOST_BYTES = 4096  # read at once
BAUD = 57_600  # of telemetry ports, unless the address says otherwise
PATIENCE_S = 0.1  # with a port that takes nothing
CONNECT_S = 3.0
RECONNECT_S = 1.0
FORMS = (
    "udpout:HOST:PORT, udpin:HOST:PORT (waits for the autopilot to speak first), tcp:HOST:PORT or "
    "/dev/PORT,BAUD"
)


class Link(Protocol):
    """Bytes to and from an autopilot."""

    #: as in the address
    name: str

    def send(self, message: bytes) -> bool:
        """Whether it was sent, else it is dropped. Never raises, waits PATIENCE_S at most."""

    def receive(self, timeout_s: float) -> bytes:
        """What came, b"" where nothing did in time."""

    def close(self) -> None:
        """Give the port back; safe to call twice."""


def open_link(address: str) -> Link:
    """A link of an address as FORMS says. Raises ConfigError, SinkError."""
    if address.startswith("/"):
        device, _, baud = address.partition(",")
        if baud and not baud.isdecimal():
            raise ConfigError(f"mavlink:{address}: baud rate '{baud}'; expected {FORMS}")
        return SerialLink(device, int(baud) if baud else BAUD)
    found = re.fullmatch(r"(udpout|udpin|tcp):(.+):(\d{1,5})", address)
    if found is None:
        raise ConfigError(f"mavlink:{address}: no link; expected {FORMS}")
    kind, host, port = found.group(1), found.group(2).strip("[]"), int(found.group(3))
    if port >= 1 << 16:
        raise ConfigError(f"mavlink:{address}: port {port}, expected a number below {1 << 16}")
    if kind == "tcp":
        return TcpLink(host, port)
    return UdpLink(host, port, listens=kind == "udpin")


class UdpLink:
    """Datagrams. listens: at an address of ours, to whoever spoke last; else to theirs."""

    def __init__(self, host: str, port: int, *, listens: bool) -> None:
        self.name = f"{'udpin' if listens else 'udpout'}:{host}:{port}"
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            if listens:
                self._socket.bind(address)
        except OSError as error:
            problem = f"mavlink:{self.name}: {_reason(error)}; is the address right?"
            raise SinkError(problem) from None
        self._socket.setblocking(False)
        self._peer = None if listens else address

    def send(self, message: bytes) -> bool:
        if self._peer is None:  # nobody spoke yet
            return False
        try:
            self._socket.sendto(message, self._peer)
        except OSError:  # no route, no listener, a full buffer: gone, like any datagram
            return False
        return True

    def receive(self, timeout_s: float) -> bytes:
        if not _readable(self._socket, timeout_s):
            return b""
        try:
            message, sender = self._socket.recvfrom(MOST_BYTES)
        except OSError:  # what a datagram of ours met, not one of theirs
            return b""
        if self.name.startswith("udpin"):
            self._peer = sender
        return message

    def close(self) -> None:
        self._socket.close()


class TcpLink:
    """A stream, connected again when it breaks."""

    def __init__(self, host: str, port: int) -> None:
        self.name = f"tcp:{host}:{port}"
        self._host, self._port = host, port
        self._again_s = 0.0
        self._told = False
        try:
            self._socket: socket.socket | None = self._connected()
        except OSError as error:
            raise SinkError(
                f"mavlink:{self.name}: cannot connect ({_reason(error)}); is the autopilot on, and "
                f"does it listen there?"
            ) from None

    def _connected(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), CONNECT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(PATIENCE_S)
        return connection

    def send(self, message: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendall(message)
        except OSError as error:  # half a message may be out: the stream begins anew
            self._broken(error)
            return False
        return True

    def receive(self, timeout_s: float) -> bytes:
        connection = self._socket
        if connection is None:
            time.sleep(min(timeout_s, 0.1))
            self._reconnect()
            return b""
        if not _readable(connection, timeout_s):
            return b""
        try:
            message = connection.recv(MOST_BYTES)
        except OSError as error:
            self._broken(error)
            return b""
        if not message:
            self._broken(ConnectionResetError("closed by the other side"))
        return message

    def _broken(self, error: OSError) -> None:
        connection, self._socket = self._socket, None
        if connection is None:  # the other thread was first
            return
        connection.close()
        level = logging.INFO if self._told else logging.WARNING
        self._told = True
        log.log(level, "mavlink:%s: lost (%s); tried every second", self.name, _reason(error))

    def _reconnect(self) -> None:
        now_s = time.monotonic()
        if now_s < self._again_s:
            return
        self._again_s = now_s + RECONNECT_S
        with contextlib.suppress(OSError):
            self._socket = self._connected()

    def close(self) -> None:
        connection, self._socket = self._socket, None
        self._again_s = float("inf")
        if connection is not None:
            connection.close()


class SerialLink:
    """A serial port, eight bits, no parity, no flow control; opened again when it is back."""

    def __init__(self, device: str, baud: int) -> None:
        self.name = f"{device},{baud}"
        self._device, self._baud = device, baud
        self._port = _open_serial(device, baud)
        self._lock = threading.Lock()  # nobody writes into another file of the same number
        self._again_s = 0.0
        self._told: set[str] = set()

    def send(self, message: bytes) -> bool:
        with self._lock:
            if self._port < 0:
                return False
            try:
                while message:
                    if not select.select([], [self._port], [], PATIENCE_S)[1]:
                        self._tell("takes no bytes")
                        return False
                    message = message[os.write(self._port, message) :]
            except OSError as error:
                self._broken(_reason(error))
                return False
            return True

    def receive(self, timeout_s: float) -> bytes:
        port = self._port
        if port < 0:
            time.sleep(min(timeout_s, 0.1))
            self._reopen()
            return b""
        if not _readable(port, timeout_s):
            return b""
        with self._lock:
            if self._port < 0:
                return b""
            try:
                message = os.read(self._port, MOST_BYTES)
            except BlockingIOError:
                return b""
            except OSError as error:
                self._broken(_reason(error))
                return b""
            if not message:
                self._broken("hung up")
            return message

    def _broken(self, why: str) -> None:
        os.close(self._port)
        self._port = -1
        self._tell(f"lost ({why}); tried every second")

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("mavlink:%s: %s; messages are lost", self.name, what)

    def _reopen(self) -> None:
        now_s = time.monotonic()
        if now_s < self._again_s:
            return
        self._again_s = now_s + RECONNECT_S
        with contextlib.suppress(SinkError), self._lock:
            self._port = _open_serial(self._device, self._baud)

    def close(self) -> None:
        with self._lock:
            self._again_s = float("inf")
            if self._port >= 0:
                os.close(self._port)
            self._port = -1


def _open_serial(device: str, baud: int) -> int:
    """Descriptor of a raw port. Raises ConfigError, SinkError."""
    try:
        import termios
        import tty
    except ImportError:
        raise SinkError(f"mavlink:{device}: serial ports need Linux or macOS; use udp") from None
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ConfigError(f"mavlink:{device}: {baud} is no baud rate; try 57600 or 921600")
    try:
        port = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        cure = "is it plugged in?" if not Path(device).exists() else "are you in 'dialout'?"
        raise SinkError(f"mavlink:{device}: {_reason(error)}; {cure}") from None
    try:
        tty.setraw(port)
        settings = termios.tcgetattr(port)
        settings[2] |= termios.CLOCAL | termios.CREAD
        settings[4] = settings[5] = speed
        termios.tcsetattr(port, termios.TCSANOW, settings)
    except termios.error:
        os.close(port)
        raise SinkError(f"mavlink:{device}: not a serial port") from None
    return port


def _readable(port: socket.socket | int, timeout_s: float) -> bool:
    try:
        return bool(select.select([port], [], [], timeout_s)[0])
    except (OSError, ValueError):  # closed meanwhile
        return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
