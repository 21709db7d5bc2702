"""What is known of an ONNX graph before it is changed: types, shapes, health."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from edge_reloc.errors import EngineError


def load_graph(path: Any) -> Any:
    """ModelProto of a file, weights included and none of them compact. Raises EngineError."""
    import onnx

    from ..float16.compact import restore

    if not path.is_file():
        raise EngineError(f"{path}: no such network file")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise EngineError(
            f"{path}: its weights lie in another file, which is missing ({error.filename}); "
            f"put it beside this one"
        ) from error
    except Exception as error:  # protobuf and onnx raise their own unrelated classes
        reason = str(error).strip().split("\n")[0]
        raise EngineError(f"{path}: damaged or not an ONNX file ({reason})") from error
    restore(model)
    return model


def check_graph(model: Any, where: str) -> None:
    """Refuse what no engine with fixed memory can take.

    Dynamic shapes, int64 at the bindings, weights that are not finite, graphs within
    graphs: EngineError with the name of the input, output or layer.
    """
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    names = [node.name for node in graph.node]
    if "" in names or len(set(names)) != len(names):
        raise EngineError(f"{where}: layers without a name of their own; export the network again")
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise EngineError(
                f"{where}: '{value.name}' has the dynamic shape {sizes}, expected fixed sizes; "
                f"export the network for one input size"
            )
        if kind.elem_type == TensorProto.INT64:
            raise EngineError(f"{where}: '{value.name}' is int64; cast it to int32 in the network")
    for tensor in graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
            bad = np.size(numpy_helper.to_array(tensor)) - np.isfinite(
                numpy_helper.to_array(tensor)
            ).sum(dtype=np.int64)
            if bad:
                user = next((n.name for n in graph.node if tensor.name in n.input), "no layer")
                raise EngineError(
                    f"{where}: {bad} weights of '{tensor.name}' (layer '{user}') are not finite; "
                    f"the training went wrong or the file is damaged"
                )
    for node in graph.node:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise EngineError(
                f"{where}: layer '{node.name}' ({node.op_type}) holds a graph of its own; "
                f"write the network without branches and loops"
            )


def float_values(model: Any, where: str) -> set[str]:
    """Names of all float32 values: inputs, weights, and what layers put out."""
    import onnx
    from onnx import TensorProto

    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx raises its own unrelated classes
        reason = str(error).strip().split("\n")[0]
        raise EngineError(f"{where}: types of its values cannot be told ({reason})") from error
    types = {t.name: t.data_type for t in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    made = {output for node in model.graph.node for output in node.output if output}
    if unknown := sorted(made - types.keys()):
        raise EngineError(f"{where}: the type of '{unknown[0]}' cannot be told; export it again")
    return {name for name, kind in types.items() if kind == TensorProto.FLOAT}


def typed_inputs(node: Any) -> tuple[int, ...]:
    """Positions of the inputs that share the type of the first output.

    Resize, for example, takes its image in any type but its scales in float32.
    """
    return tuple(i for i in range(len(node.input)) if _follows(node.op_type, i))


@cache
def _follows(operator: str, index: int) -> bool:
    import onnx

    schema = onnx.defs.get_schema(operator)
    # The last input of Concat and the like stands for all that follow.
    return bool(
        schema.inputs[min(index, len(schema.inputs) - 1)].type_str == schema.outputs[0].type_str
    )
