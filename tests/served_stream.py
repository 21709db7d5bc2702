"""A stream on loopback that a process of its own serves, cuts and serves again."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).with_name("stream_server.py")


class Served:
    """By `stream_server.py`, whose pictures `options` name."""

    def __init__(self, kind: str, *options: str) -> None:
        kind_of_socket = socket.SOCK_DGRAM if kind in ("udp", "rtp") else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind_of_socket) as probe:
            probe.bind(("127.0.0.1", 0))
            self._arguments = [kind, str(probe.getsockname()[1]), *options]
        self.url = f"{kind}://127.0.0.1:{self._arguments[1]}"
        self.url += "/stream" if kind in ("http", "rtsp") else ""
        self.start()

    def start(self) -> None:
        """Returns when a client can come."""
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        with self._process.stdout as out:
            assert out.readline() == b"ready\n"

    def cut(self) -> None:
        """As if somebody pulled the plug."""
        self._process.kill()
        self._process.wait()
