"""What float16 really does to a network, on a machine that has only float32.

ONNX Runtime's CPU engine computes a float16 graph in float32 and rounds only where
the graph ends: it would praise every conversion. Here each float16 value is rounded
when it is made, as a GPU's kernels do that are not fused; products are still summed
in float32, as tensor cores do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

EXACT = "_exact"  # a value before it is rounded
WIDE = "_rounded"  # and after, in float32 again


def rounded(model: Any) -> Any:
    """A float32 ModelProto that gives a float16 one's numbers, inputs and outputs alike."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    new = onnx.ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:], new.graph.initializer[:], new.graph.value_info[:]
    half = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    for tensor in graph.initializer:
        if tensor.name in half:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            new.graph.initializer.append(numpy_helper.from_array(values, tensor.name + WIDE))
        else:
            new.graph.initializer.append(tensor)

    def cast(source: str, target: str, to: int) -> None:
        new.graph.node.append(helper.make_node("Cast", [source], [target], to=to))

    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Cast":
            new.graph.node.append(copy)
            if _target(node) == TensorProto.FLOAT16:
                half.add(node.output[0])
                cast(node.output[0], node.output[0] + WIDE, TensorProto.FLOAT)
            continue
        works_in_half = bool(half.intersection(node.input))
        for index, value in enumerate(node.input):
            if value in half:
                copy.input[index] = value + WIDE
        if works_in_half:
            for index, value in enumerate(node.output):
                copy.output[index] = value + EXACT
        new.graph.node.append(copy)
        for value in node.output if works_in_half else ():
            half.add(value)
            cast(value + EXACT, value, TensorProto.FLOAT16)
            cast(value, value + WIDE, TensorProto.FLOAT)
    return new


def _target(node: Any) -> int:
    return int(next(a.i for a in node.attribute if a.name == "to"))
