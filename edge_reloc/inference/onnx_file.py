"""An ONNX file as far as it must be known before an engine sees it: no package needed.

Reads protobuf's wire format (protobuf.dev/programming-guides/encoding) of onnx.proto, and of
that only what our exports write. Anything else is refused: functions, graphs within layers,
weights in other files, fields of newer versions.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, Union

import numpy as np

from ..errors import EngineError


@dataclass(frozen=True)
class _Kind:
    """A message of onnx.proto: the fields that it may have; names and notes are not read."""

    name: str
    fields: frozenset[int]
    #: what another one means, where that is worth telling
    refused: dict[int, str] = field(default_factory=dict)


_MODEL = _Kind("the model", frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14}), {25: "has functions"})
_OPSET = _Kind("an operator set", frozenset({1, 2}))
_GRAPH = _Kind("the graph", frozenset({1, 2, 5, 10, 11, 12, 13, 16}), {15: "has sparse weights"})
_NODE = _Kind("a layer", frozenset({1, 2, 3, 4, 5, 6, 7, 9}))
_ATTRIBUTE = _Kind(
    "an attribute",
    frozenset({1, 2, 3, 4, 7, 8, 13, 20}),
    {6: "is a graph, as of branches and loops", 11: "is a graph, as of branches and loops"},
)
_TENSOR = _Kind(
    "a weight",
    frozenset({1, 2, 8, 9, 12, 16}),
    {13: "has its numbers in another file", 14: "has its numbers in another file"},
)
_VALUE = _Kind("an input or output", frozenset({1, 2, 3, 4}))
_TYPE = _Kind("a type", frozenset({1, 6}), {4: "is a sequence, expected a tensor"})
_TENSOR_TYPE = _Kind("a tensor's type", frozenset({1, 2}))
_SHAPE = _Kind("a shape", frozenset({1}))
_DIM = _Kind("a size", frozenset({1, 3}), {2: "is not fixed; export it with static shapes"})

#: numpy's name by TensorProto.DataType, of types that our networks use
ELEMENTS = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_BYTES = {name: np.dtype(name).itemsize for name in ELEMENTS.values()}
_SMALL = 64  # numbers of a tensor that may be a shape, axes or the like
OPSETS = range(13, 21)  # what most axes are inputs from; what TensorRT 10.3 parses
MOST_AXES = 8  # of a tensor, as TensorRT has it
# What is kept of a file while it is read: our networks have a few thousand fields.
MOST_FIELDS = 1 << 18
LARGEST_LAYER, LONGEST_NAME = 1 << 20, 1 << 12  # bytes; layers may carry notes of their maker

Bytes = Union[bytes, memoryview]  # noqa: UP007 (an alias at run time, on Python 3.10 too)
Attribute = Union[int, float, str, "tuple[int, ...]"]
Message = dict[int, list[Any]]
T = TypeVar("T")


class Value(NamedTuple):
    """A tensor: numpy's name of its type, fixed sizes."""

    dtype: str
    shape: tuple[int, ...]
    #: of a small constant, its numbers
    constant: tuple[float, ...] | None = None

    @property
    def size(self) -> int:
        """Numbers."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return prod(self.shape) * _BYTES[self.dtype]


class Layer(NamedTuple):
    """A node of the graph. Inputs that it does without are named ""."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


@dataclass(frozen=True)
class OnnxGraph:
    """What a file says, in its order."""

    weights: dict[str, Value]
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    layers: tuple[Layer, ...]


def read_onnx(path: Path) -> OnnxGraph:
    """The graph of a file; weights are left where they are. Raises EngineError."""
    try:
        with open(path, "rb") as stream:
            # Unmapped with the last view of it: closed by hand it could not be after an error.
            data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
            return _Reader().model(data)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, IndexError, OverflowError) as error:
        raise EngineError(
            f"{path}: not an ONNX network as this edge_reloc reads them ({error}); export it again"
        ) from None


class _Reader:
    """The messages of one file, and how many more fields it may have."""

    def __init__(self) -> None:
        self._left = MOST_FIELDS
        #: by their bytes: most layers have the same ones
        self._attributes: dict[bytes, tuple[str, Attribute]] = {}

    def model(self, data: Bytes) -> OnnxGraph:
        """What the file says. Raises ValueError, IndexError or OverflowError."""
        model = self._message(data, _MODEL)
        for opset in _each(model, 8):
            fields = self._message(opset, _OPSET)
            if _text(fields, 1) in ("", "ai.onnx") and _number(fields, 2) not in OPSETS:
                raise ValueError(
                    f"opset {_number(fields, 2)}, expected {OPSETS[0]} to {OPSETS[-1]}"
                )
        graph = self._message(_bytes(model, 7), _GRAPH)
        weights = _named(self._weight(tensor) for tensor in _each(graph, 5))
        inputs = _named(self._binding(value) for value in _each(graph, 11))
        return OnnxGraph(
            weights=weights,
            # Old files list weights among the inputs.
            inputs={name: value for name, value in inputs.items() if name not in weights},
            outputs=_named(self._binding(value) for value in _each(graph, 12)),
            layers=tuple(self._layer(node) for node in _each(graph, 1)),
        )

    def _layer(self, data: Bytes) -> Layer:
        if len(data) > LARGEST_LAYER:
            raise ValueError(f"a layer of {len(data)} bytes, expected {LARGEST_LAYER} at most")
        node = self._message(bytes(data), _NODE)
        name, operator = _text(node, 3), _text(node, 4)
        if _text(node, 7) not in ("", "ai.onnx"):
            raise ValueError(
                f"layer '{name}' is of the operators '{_text(node, 7)}', expected ONNX's"
            )
        return Layer(
            name,
            operator,
            tuple(_utf8(value) for value in _each(node, 1)),
            tuple(_utf8(value) for value in _each(node, 2)),
            _named(self._attribute(bytes(value), name) for value in _each(node, 5)),
        )

    def _attribute(self, data: bytes, layer: str) -> tuple[str, Attribute]:
        found = self._attributes.get(data)
        if found is None:
            found = self._attributes[data] = self._new_attribute(data, layer)
        return found

    def _new_attribute(self, data: bytes, layer: str) -> tuple[str, Attribute]:
        fields = self._message(data, _ATTRIBUTE, f" of layer '{layer}'")
        name, kind = _text(fields, 1), _number(fields, 20)
        if kind == 1:
            return name, _float(fields, 2)
        if kind == 2:
            return name, _signed(_number(fields, 3))
        if kind == 3:
            return name, _text(fields, 4)
        if kind == 7:
            return name, _integers(fields, 8)
        raise ValueError(f"attribute '{name}' of layer '{layer}' is neither numbers nor text")

    def _weight(self, data: Bytes) -> tuple[str, Value]:
        tensor = self._message(data, _TENSOR)
        name, dtype, shape = _text(tensor, 8), _element(_number(tensor, 2)), _integers(tensor, 1)
        raw, value = _bytes(tensor, 9), Value(dtype, shape)
        if any(size < 0 for size in shape) or value.nbytes != len(raw):
            raise ValueError(f"weight '{name}' of {shape} holds {len(raw)} bytes")
        if value.size > _SMALL or dtype not in ("int64", "float32"):
            return name, value
        return name, Value(dtype, shape, tuple(np.frombuffer(raw, np.dtype(dtype)).tolist()))

    def _binding(self, data: Bytes) -> tuple[str, Value]:
        fields = self._message(data, _VALUE)
        name = _text(fields, 1)
        kind = self._message(_bytes(fields, 2), _TYPE, f" of '{name}'")
        tensor = self._message(_bytes(kind, 1), _TENSOR_TYPE, f" of '{name}'")
        shape = self._message(_bytes(tensor, 2), _SHAPE, f" of '{name}'")
        sizes = [self._message(dim, _DIM, f" of '{name}'") for dim in _each(shape, 1)]
        found = tuple(_signed(_number(size, 1)) for size in sizes)
        if any(size < 1 for size in found):
            raise ValueError(f"'{name}' has the dynamic shape {found}, expected fixed sizes")
        return name, Value(_element(_number(tensor, 1)), found)

    def _message(self, data: Bytes, kind: _Kind, of: str = "") -> Message:
        """Fields by number, each as often as it stands there. ValueError for one not known.

        Of length-delimited fields the bytes, of numbers their bits. of: whose, for the error
        line.
        """
        fields: Message = {}
        known = kind.fields
        at, end, left = 0, len(data), self._left
        while at < end:
            if not left:
                raise ValueError(f"more than {MOST_FIELDS} fields")
            left -= 1
            key, at = data[at], at + 1  # most numbers are a single byte
            if key > 127:
                key, at = _varint(data, at - 1)
            number, wire = key >> 3, key & 7
            if number not in known:
                why = kind.refused.get(number, f"has field {number}, which is not known")
                raise ValueError(f"{kind.name}{of} {why}")
            value: Any
            if wire == 2:
                size, at = data[at], at + 1
                if size > 127:
                    size, at = _varint(data, at - 1)
                value, at = data[at : at + size], at + size
            elif wire == 0:
                value, at = _varint(data, at)
            elif wire == 5:
                value, at = bytes(data[at : at + 4]), at + 4
            else:
                raise ValueError(f"field {number} of {kind.name}{of} is of wire type {wire}")
            if at > end:
                raise ValueError(f"{kind.name}{of} is cut off")
            if number in fields:
                fields[number].append(value)
            else:
                fields[number] = [value]
        self._left = left
        return fields


def _named(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """By name. Readers differ in what they make of two of one name."""
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"'{name}' stands there twice")
        found[name] = value
    return found


def _element(number: int) -> str:
    if number not in ELEMENTS:
        raise ValueError(f"element type {number}, expected one of {', '.join(ELEMENTS.values())}")
    return ELEMENTS[number]


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    """Number, and where the next begins."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while byte > 127:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number of more than 64 bits")
    return value, at + 1


def _each(fields: Message, number: int) -> Iterable[Bytes]:
    for value in fields.get(number, ()):
        if isinstance(value, int):
            raise ValueError(f"field {number} is a number")
        yield value


def _one(fields: Message, number: int, default: Any) -> Any:
    """Of a field that stands there once at most: readers differ in what they make of two."""
    values = fields.get(number)
    if values is None:
        return default
    if len(values) > 1:
        raise ValueError(f"field {number} stands there twice")
    value = values[0]
    if isinstance(value, int) != isinstance(default, int):
        raise ValueError(f"field {number} is of another type")
    return value


def _number(fields: Message, number: int) -> int:
    return int(_one(fields, number, 0))


def _bytes(fields: Message, number: int) -> Bytes:
    found: Bytes = _one(fields, number, b"")
    return found


def _text(fields: Message, number: int) -> str:
    return _utf8(_bytes(fields, number))


def _utf8(value: Bytes) -> str:
    if len(value) > LONGEST_NAME:
        raise ValueError(f"a name of {len(value)} bytes, expected {LONGEST_NAME} at most")
    return str(bytes(value), "utf-8")


def _float(fields: Message, number: int) -> float:
    return float(np.frombuffer(_bytes(fields, number) or bytes(4), "<f4")[0])


def _integers(fields: Message, number: int) -> tuple[int, ...]:
    """One after the other, or packed."""
    found: list[int] = []
    for value in fields.get(number, ()):
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        at = 0
        while at < len(value) and len(found) <= _SMALL:
            one, at = _varint(value, at)
            found.append(_signed(one))
    if len(found) > _SMALL:
        raise ValueError(f"a list of more than {_SMALL} numbers")
    return tuple(found)


def _signed(value: int) -> int:
    """Of the 64 bits that stand for it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
