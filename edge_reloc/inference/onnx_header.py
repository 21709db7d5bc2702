"""What an ONNX file says of itself, read without any package and without its weights.

Sizes must be known before anything is taken, also where no engine is installed. An
ONNX file is a protocol buffer: nested fields of (number, kind, value). Only the few
that carry names, types and shapes are looked at; weights are stepped over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ..errors import EngineError

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT = 1, 2
_TENSOR_DIMS, _TENSOR_KIND, _TENSOR_NAME = 1, 2, 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE, _SHAPE_DIM, _DIM_VALUE = 1, 1, 2, 1, 1

ELEMENTS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_BYTES = {"float32": 4, "uint8": 1, "int8": 1, "int32": 4, "int64": 8, "bool": 1, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One tensor: numpy's dtype name, and shape (0 for a size that is not fixed)."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Of the whole tensor."""
        return prod(self.shape) * _BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True)
class OnnxHeader:
    """inputs, outputs by name. activation_bytes: most that lives at once between layers,
    None when the file does not tell the sizes of its inner values. weight_bytes: of all
    weights once an engine has them: in float32 where the file holds float16.
    """

    inputs: dict[str, Binding]
    outputs: dict[str, Binding]
    activation_bytes: int | None
    weight_bytes: int


def read_header(path: Path) -> OnnxHeader:
    """The header of a network file. Raises EngineError."""
    try:
        with open(path, "rb") as stream:
            # Closed when the last view of it is gone.
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return _parse(memoryview(data))
    except FileNotFoundError:
        raise EngineError(f"{path}: no such network file") from None
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise EngineError(f"{path}: damaged or not an ONNX file ({error})") from error


def _parse(data: memoryview) -> OnnxHeader:
    # All fields are read, so that a file that is cut off behind the graph is noticed too.
    graph = dict(_fields(data)).get(_MODEL_GRAPH)
    if not isinstance(graph, memoryview):
        raise ValueError("it holds no graph")
    inputs: dict[str, Binding] = {}
    outputs: dict[str, Binding] = {}
    values: dict[str, Binding] = {}
    weights: set[str] = set()
    weight_bytes = 0
    nodes: list[tuple[list[str], list[str]]] = []
    for number, value in _fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == _GRAPH_NODE:
            nodes.append((_texts(value, _NODE_INPUT), _texts(value, _NODE_OUTPUT)))
        elif number == _GRAPH_INITIALIZER:
            weights.update(_texts(value, _TENSOR_NAME))
            weight_bytes += _weight_bytes(value)
        elif number in (_GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE):
            name, binding = _binding(value)
            if binding is not None:
                target = {_GRAPH_INPUT: inputs, _GRAPH_OUTPUT: outputs}.get(number, values)
                target[name] = binding
    for name in weights:  # old files list weights among the inputs
        inputs.pop(name, None)
    # What is made of weights alone is made once, when the file is opened.
    layers = []
    for layer in nodes:
        if layer[0] and weights.issuperset(layer[0]):
            weights.update(layer[1])
        else:
            layers.append(layer)
    return OnnxHeader(
        inputs=inputs,
        outputs=outputs,
        activation_bytes=_peak(layers, values, set(outputs)),
        weight_bytes=weight_bytes,
    )


def _weight_bytes(data: memoryview) -> int:
    """Of one tensor in an engine's memory; sizes are numbers, or packed into bytes."""
    sizes, kind = [], "float32"
    for number, value in _fields(data):
        if number == _TENSOR_DIMS and isinstance(value, int):
            sizes.append(value)
        elif number == _TENSOR_DIMS and isinstance(value, memoryview):
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                sizes.append(size)
        elif number == _TENSOR_KIND and isinstance(value, int):
            kind = ELEMENTS.get(value, kind)
    return prod(sizes) * (4 if kind == "float16" else _BYTES[kind])


def _peak(
    nodes: list[tuple[list[str], list[str]]], values: dict[str, Binding], bound: set[str]
) -> int | None:
    """Largest sum of inner values that are made and still needed, in file order."""
    last = {name: index for index, (inputs, _) in enumerate(nodes) for name in inputs}
    alive: dict[str, int] = {}
    peak = 0
    for index, (inputs, outputs) in enumerate(nodes):
        for name in outputs:
            if not name or name in bound:
                continue
            if name not in values:
                return None
            alive[name] = values[name].nbytes
        peak = max(peak, sum(alive.values()))
        for name in {*inputs, *outputs}:
            if last.get(name, -1) <= index:
                alive.pop(name, None)
    return peak


def _binding(data: memoryview) -> tuple[str, Binding | None]:
    name, kind = "", None
    for number, value in _fields(data):
        if number == _VALUE_NAME and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == _VALUE_TYPE and isinstance(value, memoryview):
            kind = next((v for n, v in _fields(value) if n == _TYPE_TENSOR), None)
    if not isinstance(kind, memoryview):
        return name, None
    element, shape = 0, []
    for number, value in _fields(kind):
        if number == _TENSOR_ELEMENT and isinstance(value, int):
            element = value
        elif number == _TENSOR_SHAPE and isinstance(value, memoryview):
            for dim_number, dim in _fields(value):
                if dim_number == _SHAPE_DIM and isinstance(dim, memoryview):
                    size = next((v for n, v in _fields(dim) if n == _DIM_VALUE), 0)
                    shape.append(size if isinstance(size, int) else 0)
    if element not in ELEMENTS:
        return name, None
    return name, Binding(dtype=ELEMENTS[element], shape=tuple(shape))


def _texts(data: memoryview, wanted: int) -> list[str]:
    return [
        bytes(value).decode()
        for number, value in _fields(data)
        if number == wanted and isinstance(value, memoryview)
    ]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: whole numbers, or bytes not yet looked into."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
        elif kind == 2:
            size, at = _varint(data, at)
            if size > end - at:
                raise ValueError(f"a field of {size} bytes goes over its end")
            yield number, data[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"field kind {kind} is unknown")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
