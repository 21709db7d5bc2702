"""Dataclasses from JSON: their annotations say what a file must hold.

Not msgspec: its dataclasses cannot refuse unknown keys, its lines name neither the value
found nor the keys there are, and it would be one more binary package on a device.
"""

from __future__ import annotations

import reprlib
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import BundleError, ConfigError

T = TypeVar("T")

_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false"}
_MANY = {str: "texts", int: "integers", float: "numbers", bool: "true or false"}
_COUNTS = ("no", "one", "two", "three", "four")  # of what a short tuple holds


def read_fields(kind: type[T], values: Any, where: str, *, lenient: bool = False) -> T:
    """A dataclass of what JSON gave for it.

    Its fields may be text, numbers, booleans, None, tuples, dictionaries by text and
    dataclasses; a list becomes a tuple, an integer a float where one is asked for.

    where: of the values, the beginning of every error line. lenient: drop unknown keys,
    here and further in, as of a file that a newer version wrote. Raises BundleError.
    """
    if not isinstance(values, dict):
        raise BundleError(f"{where}: found {type(values).__name__}, expected an object")
    kinds, required = _annotations(kind)  # type: ignore[arg-type]
    if lenient:
        values = {key: value for key, value in values.items() if key in kinds}
    read = {
        key: _read(kinds[key], value, where, key, lenient)
        for key, value in values.items()
        if key in kinds
    }
    if unknown := set(values) - set(kinds):
        raise BundleError(f"{where}: unknown keys {sorted(unknown)}; expected {sorted(kinds)}")
    for key in required:
        if key not in read:
            raise BundleError(f"{where}: '{key}' is missing, expected {_expected(kinds[key])}")
    try:
        return kind(**read)
    except (ConfigError, BundleError) as error:  # what the dataclass itself refuses
        raise BundleError(f"{where}: {error}") from error


@cache
def _annotations(kind: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Types by field, and the names of the fields without a default."""
    assert is_dataclass(kind), kind
    known = get_type_hints(kind)
    declared = [f for f in fields(kind) if f.init]
    required = tuple(
        f.name for f in declared if f.default is MISSING and f.default_factory is MISSING
    )
    return {f.name: known[f.name] for f in declared}, required


def _read(kind: Any, value: Any, where: str, name: str, lenient: bool) -> Any:
    """One value; `name` of it, such as key or files['a.npy']."""

    def inside(kind: Any, value: Any, index: str | int) -> Any:
        return _read(kind, value, where, f"{name}[{index!r}]", lenient)

    one = _without_none(kind)
    if one is Any or (value is None and one is not kind):
        return value
    origin, inner = get_origin(one), get_args(one)
    if isinstance(value, dict):
        if isinstance(one, type) and is_dataclass(one):
            return read_fields(one, value, f"{where}: {name}", lenient=lenient)
        if origin is dict:
            return {key: inside(inner[1], v, key) for key, v in value.items()}
    elif origin is tuple and isinstance(value, (list, tuple)):
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        pairs = list(zip(kinds, value, strict=False))
        # A short list says more than one of its numbers: it is refused as a whole.
        if len(kinds) == len(value) and all(k not in _WORDS or _is_plain(k, v) for k, v in pairs):
            return tuple(inside(k, v, index) for index, (k, v) in enumerate(pairs))
    elif one in _WORDS and _is_plain(one, value):
        return one(value)
    quoted = name if name.endswith("]") else f"'{name}'"
    raise BundleError(f"{where}: {quoted} is {reprlib.repr(value)}, expected {_expected(kind)}")


def _is_plain(kind: type, value: Any) -> bool:
    """Whether a value is text, a number or a boolean as asked for."""
    if kind is float and type(value) is int:
        return abs(value) < 1 << 1000  # as a float it exists
    return type(value) is kind


def _without_none(kind: Any) -> Any:
    """X of X | None."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    (rest,) = [one for one in get_args(kind) if one is not NoneType]
    return rest


def _expected(kind: Any) -> str:
    """A type in words, as JSON's reader knows it."""
    one = _without_none(kind)
    if one is not kind:
        return f"{_expected(one)} or null"
    inner = get_args(kind)
    if get_origin(kind) is not tuple:
        return _WORDS.get(kind, "an object")
    if inner[1:] == (...,):
        return f"a list of {_MANY.get(inner[0], 'objects')}"
    return f"{_COUNTS[len(inner)]} {_MANY.get(inner[0], 'objects')}"
