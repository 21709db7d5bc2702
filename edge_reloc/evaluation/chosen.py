"""Methods as people write them in tables: cells+2, image_retrieval:10, landmarks:20+t+f16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..bundle.manifest import Manifest
from ..errors import ConfigError
from ..methods import Settings, variants

#: what may stand after '+', its words and its settings
EXTRAS: dict[str, tuple[str, dict[str, Any]]] = {
    "2": ("second pass", {"second_pass": True}),
    "t": ("tracking", {"tracking": True}),
    "f16": ("networks in float16", {"precision": "float16"}),
    "trt": ("TensorRT", {"engine": "tensorrt"}),
}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A way to localise, and how it was written."""

    text: str
    settings: Settings


def parse_method(text: str, base: Settings) -> Chosen:
    """`name[:N]` of N images, candidates or landmarks, and any of EXTRAS. Raises ConfigError."""
    name, *extras = text.split("+")
    if set(extras) - set(EXTRAS):
        known_extras = ", ".join(f"'{extra}' ({words})" for extra, (words, _) in EXTRAS.items())
        raise ConfigError(f"method '{text}': after '+' only {known_extras} are known")
    name, _, number = name.partition(":")
    known = {variant.name: (method, variant) for method, variant in variants()}
    if name not in known:
        raise ConfigError(f"method '{text}': found '{name}', expected one of {', '.join(known)}")
    method, variant = known[name]
    values: dict[str, Any] = {"second_pass": False, "tracking": False}
    for extra in extras:
        values |= EXTRAS[extra][1]
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


def extras_syntax() -> str:
    """What may stand after a name, for help texts."""
    return ", ".join(f"'+{extra}' {words}" for extra, (words, _) in EXTRAS.items())
