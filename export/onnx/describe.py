"""What a device must know of a network before it takes any memory for it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from edge_reloc.bundle.manifest import DTYPES, NetworkDescription, TensorEntry
from edge_reloc.errors import EngineError


def describe(content: bytes, where: str) -> NetworkDescription:
    """Inputs, outputs and sizes of an ONNX file. Raises EngineError."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx raise their own unrelated classes
        reason = str(error).strip().split("\n")[0]
        raise EngineError(f"{where}: damaged or not an ONNX file ({reason})") from error
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    # What is made of weights alone is made once, when the file is opened.
    layers = []
    for node in graph.node:
        if node.input and weights.issuperset(node.input):
            weights.update(node.output)
        else:
            layers.append(node)
    outputs = {value.name: _tensor(value, where) for value in graph.output}
    return NetworkDescription(
        # Old files list weights among the inputs.
        inputs={v.name: _tensor(v, where) for v in graph.input if v.name not in weights},
        outputs=outputs,
        weight_bytes=sum(_weight_bytes(tensor) for tensor in graph.initializer),
        activation_bytes=_peak(layers, graph, set(outputs)),
    )


def _tensor(value: Any, where: str) -> TensorEntry:
    tensor = value.type.tensor_type
    shape, dtype = _shape(tensor), _dtype(tensor.elem_type).name
    if 0 in shape:
        raise EngineError(
            f"{where}: '{value.name}' has the dynamic shape {shape} (0: not fixed), expected "
            f"fixed sizes; export it again with static shapes"
        )
    if dtype not in DTYPES:
        raise EngineError(f"{where}: '{value.name}' is {dtype}, expected one of {DTYPES}")
    return TensorEntry(dtype=dtype, shape=shape)


def _weight_bytes(tensor: Any) -> int:
    """Of one tensor in an engine's memory: in float32 where the file holds float16."""
    dtype = _dtype(tensor.data_type)
    return int(prod(tensor.dims)) * (4 if dtype.name == "float16" else dtype.itemsize)


def _peak(layers: list[Any], graph: Any, bound: set[str]) -> int | None:
    """Most bytes of inner values that are made and still needed, in file order.

    None when the file does not tell the size of one. bound: outputs, which have a place.
    """
    tensors = {value.name: value.type.tensor_type for value in graph.value_info}
    sizes = {n: prod(_shape(t)) * _dtype(t.elem_type).itemsize for n, t in tensors.items()}
    last = {name: index for index, node in enumerate(layers) for name in node.input}
    alive: dict[str, int] = {}
    peak = 0
    for index, node in enumerate(layers):
        for name in node.output:
            if not name or name in bound:
                continue
            if name not in sizes:
                return None
            alive[name] = sizes[name]
        peak = max(peak, sum(alive.values()))
        for name in {*node.input, *node.output}:
            if last.get(name, -1) <= index:
                alive.pop(name, None)
    return peak


def _shape(tensor: Any) -> tuple[int, ...]:
    """0 for a size that is not fixed."""
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _dtype(element: int) -> np.dtype[Any]:
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(element))
