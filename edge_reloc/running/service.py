"""What systemd is told of a service of `Type=notify` (sd_notify(3))."""

from __future__ import annotations

import contextlib
import socket
import time

ALIVE_S = 1.0  # between two signs of life; WatchdogSec of the unit is many of these


class ServiceManager:
    """Datagrams to the socket that systemd names in NOTIFY_SOCKET; none where it names none."""

    def __init__(self, address: str) -> None:
        # An address of Linux' abstract namespace is written with @ instead of the first byte 0.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._told_s = 0.0

    def ready(self) -> None:
        """Map, camera and sinks are open."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The loop turns, with frames or while it waits for some."""
        now_s = time.monotonic()
        if now_s - self._told_s >= ALIVE_S:
            self._told_s = now_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            with contextlib.suppress(OSError):  # whoever should hear it went away or is busy
                datagrams.sendto(state.encode(), self._address)
