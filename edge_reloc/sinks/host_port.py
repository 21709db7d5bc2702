"""Hosts and ports in addresses of receivers."""

from __future__ import annotations

from ..errors import ConfigError

LOCALHOST = "127.0.0.1"


def host_port(address: str, text: str, default_port: int) -> tuple[str, int]:
    """`HOST:PORT`, `PORT`, `HOST` or nothing; ConfigError, which quotes `address`."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = ("", text) if text.isdecimal() else (text, "")
    if port and not (port.isdecimal() and int(port) < 1 << 16):
        raise ConfigError(f"{address}: port '{port}', expected a number below {1 << 16}")
    return host or LOCALHOST, int(port) if port else default_port
