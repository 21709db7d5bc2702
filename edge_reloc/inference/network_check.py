"""What a network is, told from its file before an engine opens it.

Only operators of the white-list, only fixed shapes, all of them worked out here and not
taken from the file: so that it takes no more memory and time than was planned.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

from ..bundle.manifest import LARGEST_TENSOR, NetworkDescription, TensorEntry
from ..errors import EngineError
from .onnx_file import MOST_AXES, Layer, OnnxGraph, Value, read_onnx
from .operators import OPERATORS

LARGEST_ACTIVATION_BYTES = 4 << 30  # that live at once
MOST_LAYERS = 20_000
MOST_WORK = 10**11  # a frame, in multiplications of a large matrix: some seconds of a core
# In the same unit, at their worst: a number that a layer reads or writes, or that a window
# covers, or that is multiplied and no float; and each of the many small products of a layer.
NUMBER, PRODUCT = 64, 2048
NUMBERS = {"Pow": 256, "Resize": 256, "Softmax": 512, "Transpose": 512, "TopK": 2048}
# Convolutions pad channels to so many. The plan allows for what that makes of our networks, up
# to 3.7 times; what is more than this share of it is planned besides.
VECTOR, VECTOR_SHARE = 16, 4
# What is made of weights alone, once, when an engine opens the file: the demo's networks make
# twice what they have, float32 out of float16 among it.
CONSTANT_SHARE, SMALL_BYTES = 3, 1 << 20


def check_network(path: Path, described: NetworkDescription | None) -> NetworkDescription:
    """What memory is planned from. Raises EngineError for what no engine should open.

    described: what the manifest says, which the file may not exceed; None: nothing.
    """
    graph = read_onnx(path)
    if len(graph.layers) > MOST_LAYERS:
        raise EngineError(f"{path}: {len(graph.layers)} layers, expected {MOST_LAYERS} at most")
    walk = _Walk(graph, path)
    found = walk.describe()
    if described is None:
        return found
    for which in ("inputs", "outputs"):
        if getattr(found, which) != getattr(described, which):
            raise EngineError(
                f"{path}: has {which} {_text(getattr(found, which))}, the manifest says "
                f"{_text(getattr(described, which))}; export the network again"
            )
    planned = described.activation_bytes
    for what, least, said in (
        ("weights", found.weight_bytes, described.weight_bytes),
        ("values between layers", found.activation_bytes or 0, planned),
    ):
        if said is not None and least > said:
            raise EngineError(
                f"{path}: {what} take {least} bytes, the manifest says {said}; run 'edge-reloc "
                f"export describe' on the map"
            )
    known = found.activation_bytes if planned is None else planned
    return replace(described, activation_bytes=max(known or 0, walk.widened_bytes))


def _text(tensors: dict[str, TensorEntry]) -> str:
    return ", ".join(f"'{n}' {t.dtype} {t.shape}" for n, t in tensors.items()) or "none"


class _Walk:
    """Layer by layer through a graph, with the shape of everything."""

    def __init__(self, graph: OnnxGraph, path: Path) -> None:
        self._graph, self._path = graph, path
        self._values: dict[str, Value] = {}
        for name, value in (graph.weights | graph.inputs).items():
            if len(value.shape) > MOST_AXES:
                raise self._refused(f"'{name}' has {_axes(value)}")
            self._values[name] = value
        #: made of weights alone, once, when an engine opens the file
        self._constant = set(graph.weights)
        self._constant_bytes = 0
        self._work = 0
        #: what memory between layers is planned from at least: images of few channels take more
        self.widened_bytes = 0

    def describe(self) -> NetworkDescription:
        """Inputs, outputs and sizes."""
        graph = self._graph
        weight_bytes = sum(
            value.nbytes * (2 if value.dtype == "float16" else 1)
            for value in graph.weights.values()
        )
        layers = [layer for layer in graph.layers if not self._follow(layer)]
        most = CONSTANT_SHARE * weight_bytes + SMALL_BYTES
        if self._constant_bytes > most:
            raise self._refused(
                f"{self._constant_bytes} bytes are made of weights alone, expected {most} at most"
            )
        for name, value in graph.outputs.items():
            made = self._values.get(name)
            if made is None or (made.dtype, made.shape) != (value.dtype, value.shape):
                raise self._refused(
                    f"output '{name}' says {value.dtype} {value.shape}, its layer makes "
                    f"{'nothing' if made is None else f'{made.dtype} {made.shape}'}"
                )
        self.widened_bytes = self._peak(layers, VECTOR) // VECTOR_SHARE
        return NetworkDescription(
            inputs={n: TensorEntry(dtype=v.dtype, shape=v.shape) for n, v in graph.inputs.items()},
            outputs={
                n: TensorEntry(dtype=v.dtype, shape=v.shape) for n, v in graph.outputs.items()
            },
            weight_bytes=weight_bytes,
            activation_bytes=self._peak(layers),
        )

    def _follow(self, layer: Layer) -> bool:
        """Work out what a layer gives; whether it is made of weights alone."""
        rule = OPERATORS.get(layer.operator)
        where = f"layer '{layer.name}' ({layer.operator})"
        if rule is None:
            raise self._refused(f"{where} is not among the operators that a map may use")
        if unknown := [n for n in layer.inputs if n and n not in self._values]:
            raise self._refused(f"{where} takes '{unknown[0]}', which no layer before it gives")
        inputs = [self._values[name] if name else None for name in layer.inputs]
        try:
            made = rule(layer, inputs)
        except (ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
            raise self._refused(f"{where} does not fit: {error}") from None
        names = [name for name in layer.outputs if name]
        if len(names) != len(layer.outputs) or len(names) > len(made):
            raise self._refused(f"{where} gives {len(layer.outputs)} values, expected {len(made)}")
        constant = self._constant.issuperset(name for name in layer.inputs if name)
        for name, value in zip(names, made, strict=False):  # the last may be left out
            self._add(where, name, value)
            if constant:
                self._constant.add(name)
                self._constant_bytes += value.nbytes
        self._work += _work(layer, inputs, made)
        if self._work > MOST_WORK:
            raise self._refused(f"{where} is beyond the work of {MOST_WORK:.0e} multiplications")
        return constant

    def _add(self, where: str, name: str, value: Value) -> None:
        if name in self._values:
            raise self._refused(f"{where} gives '{name}', which is there already")
        if len(value.shape) > MOST_AXES:
            raise self._refused(f"{where} gives {_axes(value)}")
        if any(size < 1 for size in value.shape) or value.size > LARGEST_TENSOR:
            raise self._refused(
                f"{where} gives {value.shape}, expected 1 to {LARGEST_TENSOR} numbers"
            )
        self._values[name] = value

    def _peak(self, layers: list[Layer], channels: int = 1) -> int:
        """Most bytes of inner values that are made and still needed, in file order.

        channels: images have a multiple of them. Outputs have a place of their own.
        """
        last = {name: n for n, layer in enumerate(layers) for name in layer.inputs}
        alive: dict[str, int] = {}
        now = peak = 0
        for n, layer in enumerate(layers):
            for name in layer.outputs:
                if name not in self._graph.outputs:
                    alive[name] = _padded_bytes(self._values[name], channels)
                    now += alive[name]
            peak = max(peak, now)
            for name in {*layer.inputs, *layer.outputs}:
                if last.get(name, -1) <= n:
                    now -= alive.pop(name, 0)
        if peak > LARGEST_ACTIVATION_BYTES:
            raise self._refused(
                f"{peak} bytes live between layers at once, expected {LARGEST_ACTIVATION_BYTES} "
                f"at most"
            )
        return peak

    def _refused(self, why: str) -> EngineError:
        return EngineError(f"{self._path}: {why}; export the network again")


def _padded_bytes(value: Value, channels: int) -> int:
    if len(value.shape) != 4:
        return value.nbytes
    return value.nbytes // value.shape[1] * (-(-value.shape[1] // channels) * channels)


def _axes(value: Value) -> str:
    return f"{len(value.shape)} axes, expected {MOST_AXES} at most"


def _work(layer: Layer, inputs: list[Value | None], made: tuple[Value, ...]) -> int:
    """Of a layer, in multiplications."""
    given = [value for value in inputs if value is not None]
    numbers = sum(value.size for value in (*given, *made))
    return NUMBERS.get(layer.operator, NUMBER) * numbers + _products(layer, given, made[0])


def _products(layer: Layer, given: list[Value], made: Value) -> int:
    each = 1 if made.dtype.startswith("float") else NUMBER
    if layer.operator == "MatMul":
        return each * made.size * given[0].shape[-1] + PRODUCT * prod(made.shape[:-2])
    if layer.operator == "Gemm":
        return each * given[0].size * made.shape[1]
    if layer.operator == "Conv":  # each group's windows are laid out beside each other
        channels, *window = given[1].shape
        groups = given[0].shape[1] // window[0]
        places = made.size // channels * prod(window)
        return places * (channels + NUMBER * groups) + PRODUCT * made.shape[0] * groups
    if layer.operator in ("MaxPool", "AveragePool"):
        size = layer.attributes["kernel_shape"]
        return NUMBER * made.size * prod(size) if isinstance(size, tuple) else 0
    return 0
