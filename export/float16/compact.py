"""Float32 networks whose weights lie in the file as float16: half the size, same speed.

An engine restores the weights when it opens the file, once. What they lose is a rounding,
2^-11 of each; what flows between layers stays float32, unlike in a float16 network.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMALLEST = 64  # weights of a tensor that are worth a layer of their own
RESTORE = "/restored"  # ends the names of those layers


def compact(model: Any) -> int:
    """Store weights as float16, in place; how many tensors. Those that would not fit stay."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    restoring = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        restoring.append(
            helper.make_node(
                "Cast", [f"{name}.half"], [name], name=f"{name}{RESTORE}", to=TensorProto.FLOAT
            )
        )
    nodes = [*restoring, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return len(restoring)


def restore(model: Any) -> None:
    """The same network with its weights in float32 again, in place."""
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if not node.name.endswith(RESTORE):
            nodes.append(node)
            continue
        tensor = weights[node.input[0]]
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    if len(nodes) < len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
