"""A float32 ONNX graph as a strongly typed float16 one.

Precision is written into the graph: TensorRT 11 knows no other way, TensorRT 10
takes it under its strongly typed mode, so one file serves both. Inputs and
outputs keep their types.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_reloc.errors import ConfigError

from ..onnx.model_file import check_graph, float_values, typed_inputs
from .placement import HEAVY, place_float16

FLOAT16_MAX = float(np.finfo(np.float16).max)  # 65504
SUFFIX = "_float16"


@dataclass(frozen=True, kw_only=True)
class Float16Graph:
    """The converted model, and what became of its layers."""

    model: Any  #: ModelProto
    half: tuple[str, ...]  #: names of the layers in float16
    heavy: int  #: how many convolutions and matrix products
    heavy_half: int  #: how many of these in float16
    islands: tuple[str, ...]  #: heavy layers that stay float32


def to_float16(model: Any, where: str, *, keep: Sequence[str] = ()) -> Float16Graph:
    """Convert a float32 model (ModelProto) with static shapes.

    keep: names of layers, or patterns such as `network.fusion*`, that stay float32;
    a layer whose weights do not fit float16 stays too. Raises EngineError for a graph
    that no engine could take (see `check_graph`), ConfigError for a pattern that fits
    no layer.
    """
    import onnx

    check_graph(model, where)
    graph = model.graph
    floats = float_values(model, where)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = _matching([node.name for node in graph.node], keep, where)
    kept |= _too_large_weights(graph.node, constants)
    half = place_float16(graph.node, floats, constants, kept)

    new = onnx.ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:], new.graph.initializer[:], new.graph.value_info[:]
    writer = _Writer(new.graph, floats, constants, half, {o.name for o in graph.output})
    for node in graph.node:
        writer.add(node)
    writer.finish()
    # The sizes of inner values tell the runtime how much memory the network takes.
    new = onnx.shape_inference.infer_shapes(new, strict_mode=True, data_prop=True)
    heavy = [node.name for node in graph.node if node.op_type in HEAVY]
    return Float16Graph(
        model=new,
        half=tuple(node.name for node in graph.node if node.name in half),
        heavy=len(heavy),
        heavy_half=sum(name in half for name in heavy),
        islands=tuple(name for name in heavy if name not in half),
    )


class _Writer:
    """Nodes in their order, with the casts that they need, each value cast once."""

    def __init__(
        self,
        graph: Any,
        floats: set[str],
        constants: dict[str, Any],
        half: set[str],
        outs: set[str],
    ) -> None:
        self._graph = graph
        self._floats = floats
        self._constants = constants
        self._half = half
        self._outputs = outs
        self._made_half: set[str] = set()  # values whose maker works in float16
        self._ready: set[str] = set()  # versions that exist already
        self._used: Counter[str] = Counter()

    def add(self, node: Any) -> None:
        import onnx

        new = onnx.NodeProto()
        new.CopyFrom(node)
        in_half = node.name in self._half
        typed = typed_inputs(node) if in_half else ()
        for index, value in enumerate(node.input):
            if value in self._floats:
                wants_half = in_half and index in typed
                new.input[index] = self._half_of(value) if wants_half else self._full_of(value)
            elif value in self._constants:
                self._keep_constant(value)
        for index, value in enumerate(node.output):
            if in_half and value in self._floats:
                self._made_half.add(value)
                new.output[index] = value + SUFFIX
        self._graph.node.append(new)

    def finish(self) -> None:
        """Outputs of the graph that were made in float16 come out as float32."""
        for value in sorted(self._outputs):
            self._full_of(value)

    def _half_of(self, value: str) -> str:
        name = value + SUFFIX
        if value in self._made_half or name in self._ready:
            return name
        self._ready.add(name)
        if value in self._constants:
            self._graph.initializer.append(_half_tensor(self._constants[value], name))
        else:
            self._cast(value, name, "FLOAT16")
        return name

    def _full_of(self, value: str) -> str:
        if value in self._constants:
            self._keep_constant(value)
        elif value in self._made_half and value not in self._ready:
            self._ready.add(value)
            self._cast(value + SUFFIX, value, "FLOAT")
        return value

    def _keep_constant(self, value: str) -> None:
        if value not in self._ready:
            self._ready.add(value)
            self._graph.initializer.append(self._constants[value])

    def _cast(self, source: str, target: str, kind: str) -> None:
        from onnx import TensorProto, helper

        self._used[kind] += 1
        name = f"cast_to_{kind.lower()}_{self._used[kind]}"
        to = TensorProto.DataType.Value(kind)
        self._graph.node.append(helper.make_node("Cast", [source], [target], name=name, to=to))


def _half_tensor(tensor: Any, name: str) -> Any:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor).astype(np.float16)
    return numpy_helper.from_array(values, name)


def _matching(names: list[str], patterns: Sequence[str], where: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        hits = fnmatch.filter(names, pattern)
        if not hits:
            raise ConfigError(
                f"{where}: no layer is called '{pattern}'; names look like '{names[0]}', "
                f"patterns like '{names[0].split('/')[0]}*'"
            )
        found |= set(hits)
    return found


def _too_large_weights(nodes: Sequence[Any], constants: dict[str, Any]) -> set[str]:
    from onnx import numpy_helper

    large = {
        name
        for name, tensor in constants.items()
        if tensor.data_type == tensor.FLOAT
        and np.abs(numpy_helper.to_array(tensor)).max(initial=0.0) > FLOAT16_MAX
    }
    return {node.name for node in nodes if large.intersection(node.input)}
