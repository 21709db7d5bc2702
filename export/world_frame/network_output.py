"""A network that answers places in the world, made to answer them in another world."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64
from edge_reloc.errors import EngineError

from ..scene.similarity import Similarity

# Layers and weights of ours, and the name that an output had before them.
PREFIX = "world"
BEFORE = f"{PREFIX}/before"


def with_transformed_output(
    content: bytes, output: str, similarity: Similarity, where: str
) -> bytes:
    """The ONNX file with a similarity after an output (N,3) float32.

    No matrix product, which a float16 version would do in float16: products and sums of
    single numbers, which stay float32 there. A network that had a similarity gets another one
    in its place. Raises EngineError for a file that is none.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises its own unrelated classes
        raise EngineError(f"{where}: damaged or not an ONNX file ({error})") from error
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    matrix, translation = f"{PREFIX}/{output}/matrix", f"{PREFIX}/{output}/translation"
    scaled = similarity.scale * similarity.rotation
    moved = similarity.translation
    if matrix in weights:
        first, offset = (_numbers(weights[name]) for name in (matrix, translation))
        scaled, moved = scaled @ first, scaled @ offset + moved
    else:
        _append(graph, output, matrix, translation, where)
        weights = {tensor.name: tensor for tensor in graph.initializer}
    for name, values in ((matrix, scaled), (translation, moved)):
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return bytes(model.SerializeToString())


def _numbers(tensor: Any) -> F64:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor), np.float64)


def _append(graph: Any, output: str, matrix: str, translation: str, where: str) -> None:
    """output = sum over columns of (rows times matrix), plus translation."""
    from onnx import TensorProto, helper, numpy_helper

    (value,) = [v for v in graph.output if v.name == output] or [None]
    sizes = [d.dim_value for d in value.type.tensor_type.shape.dim] if value is not None else []
    if value is None or sizes[1:] != [3] or value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise EngineError(f"{where}: has no output '{output}' (N,3) float32; train the map again")
    rows, before = sizes[0], f"{BEFORE}/{output}"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == output:
                    names[index] = before
    inner = {
        before: [rows, 3],
        f"{PREFIX}/{output}/rows": [rows, 1, 3],
        f"{PREFIX}/{output}/products": [rows, 3, 3],
        f"{PREFIX}/{output}/sums": [rows, 3],
    }
    _, split, products, sums = inner
    constants: dict[str, NDArray[Any]] = {
        f"{PREFIX}/{output}/shape": np.array([rows, 1, 3], np.int64),
        f"{PREFIX}/{output}/axis": np.array([2], np.int64),
        matrix: np.eye(3, dtype=np.float32),
        translation: np.zeros(3, np.float32),
    }
    shape, axis = list(constants)[:2]
    graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in constants.items())
    graph.node.extend(
        [
            helper.make_node("Reshape", [before, shape], [split], name=split),
            helper.make_node("Mul", [split, matrix], [products], name=products),
            helper.make_node("ReduceSum", [products, axis], [sums], name=sums, keepdims=0),
            helper.make_node("Add", [sums, translation], [output], name=f"{PREFIX}/{output}/moved"),
        ]
    )
    # Sizes of inner values tell how much memory the network takes.
    graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in inner.items()
    )
