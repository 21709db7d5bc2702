"""Dataclasses from JSON: their annotations say what a file must hold.

Not msgspec: its dataclasses cannot refuse unknown keys, its lines name neither the value
found nor the keys there are, and it would be one more binary package on a device.
"""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import BundleError, ConfigError

T = TypeVar("T")

_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false"}
_MANY = {str: "texts", int: "integers", float: "numbers", bool: "true or false"}
_LARGEST_INTEGER = 1 << 62  # sums of a few of them, and numpy's sizes, stay 64 bits wide
# Of JSON: parsed, a list of two bytes takes seventy, and each item some microseconds.
MOST_ITEMS = 1 << 17
MOST_DEPTH = 32  # nested; ours have 8
_COUNTS = ("no", "one", "two", "three", "four")  # of what a short tuple holds


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a number may be, as `Annotated[int, Range(at_least=1)]`. Ends may be None: any."""

    at_least: float | None = None
    #: that must be exceeded
    above: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the number lies within."""
        return not (
            (self.at_least is not None and value < self.at_least)
            or (self.above is not None and value <= self.above)
            or (self.at_most is not None and value > self.at_most)
        )

    def __str__(self) -> str:
        ends = {"at least": self.at_least, "above": self.above, "at most": self.at_most}
        return ", ".join(f"{word} {end:.10g}" for word, end in ends.items() if end is not None)


def read_json(content: bytes, most_items: int = MOST_ITEMS) -> Any:
    """As `parse_json`. Raises ValueError also for text that no file can hold."""
    values = parse_json(content, most_items)
    if b"\\u" in content and not _can_be_written(values):
        raise ValueError("half of a character, which no text can hold")
    return values


def parse_json(content: bytes, most_items: int = MOST_ITEMS) -> Any:
    """What a text of somebody else's says, within bounds of memory and time.

    Raises ValueError, UnicodeDecodeError among it, for what is not JSON, has more items or
    deeper ones than any of our files, or says a thing twice.
    """
    items = sum(content.count(sign) for sign in (b",", b"[", b"{"))
    if items > most_items:
        raise ValueError(f"some {items} items, expected {most_items} at most")
    try:
        values = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    level = [values]
    for _ in range(MOST_DEPTH):
        held = [v.values() if isinstance(v, dict) else v for v in level if _holds(v)]
        if not held:
            break
        level = [value for several in held for value in several]
    else:
        raise ValueError(f"nested deeper than {MOST_DEPTH} times")
    return values


def _can_be_written(values: Any) -> bool:
    """Whether no text of it has one surrogate without the other."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of one name readers take one or the other."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for n, name in enumerate(names) if name in set(names[:n]))
        raise ValueError(f"'{twice}' stands there twice")
    return values


def _holds(value: Any) -> bool:
    return isinstance(value, (dict, list))


def read_record(content: bytes, where: str, *, format: str, what: str) -> dict[str, Any]:
    """Keys of a JSON file that says its format, but for that one. Raises BundleError.

    what: it is, for people, such as "a map bundle".
    """
    noun = what.split(" ", 1)[1]
    try:
        values = read_json(content)
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not text; the {noun} is damaged") from error
    except ValueError as error:
        raise BundleError(f"{where}: not JSON ({error}); the {noun} is damaged") from error
    if not isinstance(values, dict) or values.pop("format", None) != format:
        raise BundleError(f'{where}: not {what} (expected "format": "{format}")')
    return values


def is_newer(version: Any, ours: tuple[int, int], what: str, again: str) -> bool:
    """Whether a file of our major version has a newer minor one, whose new keys do not matter.

    ours: [major, minor] that this edge_reloc writes. what: the file and whose version it is;
    again: the cure for an older file. Raises BundleError for any other major version.
    """
    known = isinstance(version, list) and [type(part) for part in version] == [int, int]
    if not known or min(version) < 0:
        raise BundleError(f"{what}: version is {version!r}, expected [major, minor]")
    if version[0] != ours[0]:
        newer = version[0] > ours[0]
        raise BundleError(
            f"{what} {version[0]}.{version[1]} is {'newer' if newer else 'older'} than "
            f"{ours[0]}.{ours[1]}, which this edge_reloc reads; "
            f"{'upgrade edge_reloc' if newer else again}"
        )
    return bool(version > list(ours))


def read_fields(kind: type[T], values: Any, where: str, *, lenient: bool = False) -> T:
    """A dataclass of what JSON gave for it.

    Its fields may be text, numbers, booleans, None, tuples, dictionaries by text and
    dataclasses; a list becomes a tuple, an integer a float where one is asked for. Numbers
    are finite, and lie within the `Range` that an annotation gives them.

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
    known = get_type_hints(kind, include_extras=True)
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
    if get_origin(one) is Annotated:
        plain, within = get_args(one)
        read = _read(plain, value, where, name, lenient)
        if not within.holds(read):
            raise BundleError(f"{where}: {_quoted(name)} is {read}, expected {within}")
        return read
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
    raise BundleError(
        f"{where}: {_quoted(name)} is {reprlib.repr(value)}, expected {_expected(kind)}"
    )


def _quoted(name: str) -> str:
    return name if name.endswith("]") else f"'{name}'"


def _is_plain(kind: type, value: Any) -> bool:
    """Whether a value is text, a finite number or a boolean as asked for."""
    if type(value) is int:
        return kind in (int, float) and abs(value) <= _LARGEST_INTEGER
    return type(value) is kind and not (isinstance(value, float) and not math.isfinite(value))


def _without_none(kind: Any) -> Any:
    """X of X | None."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    (rest,) = [one for one in get_args(kind) if one is not NoneType]
    return rest


def _plain(kind: Any) -> Any:
    """X of Annotated[X, ...]."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _expected(kind: Any) -> str:
    """A type in words, as JSON's reader knows it."""
    kind = _plain(kind)
    one = _without_none(kind)
    if one is not kind:
        return f"{_expected(one)} or null"
    inner = get_args(kind)
    if get_origin(kind) is not tuple:
        return _WORDS.get(kind, "an object")
    if inner[1:] == (...,):
        return f"a list of {_MANY.get(_plain(inner[0]), 'objects')}"
    return f"{_COUNTS[len(inner)]} {_MANY.get(inner[0], 'objects')}"
