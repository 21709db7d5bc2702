"""Options of sinks that draw: how often, and how well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LOOKS_HZ = 4.0
QUALITY = 80  # of JPEG


def looks_hz(text: str) -> float:
    """A number from 0 on."""
    value = float(text)
    if not 0 <= value <= 1000:
        raise ValueError("expected images a second, 0 to 1000")
    return value


def quality(text: str) -> int:
    """Of JPEG."""
    value = int(text)
    if not 1 <= value <= 100:
        raise ValueError("expected a whole number of 1 to 100")
    return value


LOOK_OPTIONS: Mapping[str, Callable[[str], Any]] = {"looks": looks_hz, "quality": quality}
