"""The `cells` head's file: its layers, and the same network with other rows in the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_reloc.arrays import F32
from edge_reloc.errors import EngineError

from ..float16.compact import RESTORE, compact
from ..onnx.model_file import load_graph


class Layer(NamedTuple):
    """outputs = weight (out,in) @ inputs + bias (out,)."""

    weight: F32
    bias: F32


def read_layers(path: Path) -> list[Layer]:
    """All layers of a head. Raises EngineError for another network."""
    graph = load_graph(path).graph
    return [Layer(*(_numbers(graph, name) for name in names)) for names in _names(graph, path)]


def with_last_layer(path: Path, last: Layer) -> bytes:
    """The file with another last layer, which may have more rows; all else is as it was."""
    import onnx
    from onnx import numpy_helper

    was_compact = any(node.name.endswith(RESTORE) for node in onnx.load(str(path)).graph.node)
    model = load_graph(path)
    graph = model.graph
    names = _names(graph, path)[-1]
    answers = {graph.output[0].name, *(n.output[0] for n in graph.node if n.input[1:] == [*names])}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for name, values in zip(names, last, strict=True):
        tensors[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    for value in (*graph.value_info, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if value.name in names:
            sizes[0].dim_value = len(last.bias)
        elif value.name in answers:
            sizes[-1].dim_value = len(last.bias)
    if was_compact:
        compact(model)
    return bytes(model.SerializeToString())


def _names(graph: Any, path: Path) -> list[tuple[str, str]]:
    """Of weight and bias of each layer, in order."""
    weights = {tensor.name for tensor in graph.initializer}
    layers = [tuple(node.input[1:]) for node in graph.node if node.op_type == "Gemm"]
    if not layers or any(len(names) != 2 or not weights.issuperset(names) for names in layers):
        raise EngineError(f"{path}: not a head as 'edge-reloc train --head cells' writes it")
    return layers


def _numbers(graph: Any, name: str) -> F32:
    from onnx import numpy_helper

    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    return np.asarray(numpy_helper.to_array(tensor), np.float32)
