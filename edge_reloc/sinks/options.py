"""Options at the end of an address: `udp://host:port?rate=20&axes=ned`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError


def split_options(
    address: str, known: Mapping[str, Callable[[str], Any]]
) -> tuple[str, dict[str, Any]]:
    """The address without its options, and these, each read by what `known` has for it.

    Raises ConfigError for an option that is not known, or that cannot be read.
    """
    rest, _, query = address.partition("?")
    values = {}
    for pair in filter(None, query.split("&")):
        name, equals, text = pair.partition("=")
        if name not in known or not equals:
            raise ConfigError(
                f"{address}: option '{pair}' is not known; expected name=value with one of "
                f"{', '.join(sorted(known))}"
            )
        try:
            values[name] = known[name](text)
        except ValueError as error:
            raise ConfigError(f"{address}: {name}: found '{text}' ({error})") from None
    return rest, values


def above_zero(text: str) -> float:
    """A number above 0; ValueError for anything else."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError("expected a number above 0")
    return value
