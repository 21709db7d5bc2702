"""An entry of a table, by the name that a user typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from edge_reloc.errors import ConfigError

Entry = TypeVar("Entry")


def choose(table: Mapping[str, Entry], name: str, what: str) -> Entry:
    """The entry; ConfigError lists the names that there are. what: is chosen."""
    if name not in table:
        raise ConfigError(f"{what}: found '{name}', expected one of {', '.join(table)}")
    return table[name]
