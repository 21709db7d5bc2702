"""Methods as people write them in tables: cells+2, image_retrieval:10, landmarks:20+t."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..bundle.manifest import Manifest
from ..errors import ConfigError
from ..methods import Settings, variants


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A way to localise, and how it was written."""

    text: str
    settings: Settings


def parse_method(text: str, base: Settings) -> Chosen:
    """`name[:N][+2][+t]`: N images, candidates or landmarks, +2 the second pass, +t tracking."""
    name, *extras = text.split("+")
    if set(extras) - {"2", "t"}:
        raise ConfigError(
            f"method '{text}': after '+' only '2' (second pass) and 't' (tracking) are known"
        )
    name, _, number = name.partition(":")
    known = {variant.name: (method, variant) for method, variant in variants()}
    if name not in known:
        raise ConfigError(f"method '{text}': found '{name}', expected one of {', '.join(known)}")
    method, variant = known[name]
    values: dict[str, Any] = {"second_pass": "2" in extras, "tracking": "t" in extras}
    if number:
        if not number.isdigit():
            raise ConfigError(f"method '{text}': '{number}' is not a number")
        values[variant.counted] = int(number)
    return Chosen(text=text, settings=method.settings(variant, base, **values))


def shown_methods(manifest: Manifest | None = None) -> Iterator[str]:
    """What a table shows unasked: of every method, or of those that a bundle can run."""
    for _, variant in variants(manifest):
        yield from variant.shown


def syntax() -> str:
    """The names and what N counts, for help texts."""
    return ", ".join(f"{variant.name}[:{variant.counted.upper()}]" for _, variant in variants())
