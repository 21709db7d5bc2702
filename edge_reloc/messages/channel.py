"""A topic with the JSON schema of its messages, and what these are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

NUMBER, TEXT, INTEGER = {"type": "number"}, {"type": "string"}, {"type": "integer"}
BYTES = {"type": "string", "contentEncoding": "base64"}
TIME = {
    "type": "object",
    "title": "time",
    "properties": {
        "sec": {"type": "integer", "minimum": 0},
        "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    },
}
DURATION = {**TIME, "title": "duration"}


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A topic with the JSON schema of its messages."""

    topic: str
    schema: dict[str, Any]

    @property
    def schema_name(self) -> str:
        """As other tools look it up."""
        return str(self.schema["title"])


def objects(title: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """JSON schema of objects."""
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": list(required),
    }


def whole(title: str, **properties: Any) -> dict[str, Any]:
    """JSON schema of objects that have all of their properties."""
    return objects(title, tuple(properties), **properties)


def lists(items: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of lists."""
    return {"type": "array", "items": items}


def numbers(count: int | None = None) -> dict[str, Any]:
    """JSON schema of lists of numbers."""
    bounds = {} if count is None else {"minItems": count, "maxItems": count}
    return {**lists(NUMBER), **bounds}


def encode(message: dict[str, Any]) -> bytes:
    """JSON of plain values and arrays; a float keeps every bit, NaN and infinity included."""
    return json.dumps(message, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a message")


def stamp(t_ns: int) -> dict[str, int]:
    """Seconds and nanoseconds; times before the clock's zero are that."""
    sec, nsec = divmod(max(t_ns, 0), 1_000_000_000)
    return {"sec": sec, "nsec": nsec}
