"""Which layers of a graph work in float16, and which stay float32.

Heavy layers (convolutions, matrix products) go to float16, and so does what lies
between two of them and only moves or scales numbers. Everything else stays float32:
the input's scaling, norms, softmax, sums, positions and indices, and whatever follows
the last heavy layer on the way to an output. So no float16 number is ever a pixel
position or a coordinate of the world.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
CARRIED = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Neg", "Clip", "Identity", "Concat", "Split"),
        *("Relu", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
        *("Erf", "Gelu", "AveragePool", "MaxPool", "GlobalAveragePool", "Resize", "Pad"),
        *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Expand"),
        *("Gather", "DepthToSpace", "SpaceToDepth"),
    }
)


def place_float16(
    nodes: Collection[Any], floats: Collection[str], constants: Collection[str], keep: set[str]
) -> set[str]:
    """Names of the nodes that work in float16.

    nodes: in topological order. floats: names of all float32 values.
    constants: names of initializers. keep: nodes that must stay float32.
    """
    moving = set(floats) - set(constants)
    maker = {output: node for node in nodes for output in node.output}
    users: defaultdict[str, list[Any]] = defaultdict(list)
    for node in nodes:
        for value in node.input:
            users[value].append(node)
    # Backwards: is there a heavy float16 layer further down?
    leads_on: set[str] = set()
    for node in reversed(list(nodes)):
        for user in (user for output in node.output for user in users[output]):
            heavy = user.op_type in HEAVY and user.name not in keep
            carried = user.op_type in CARRIED and user.name not in keep
            if heavy or (carried and user.name in leads_on):
                leads_on.add(node.name)
    # Forwards: is everything that comes in float16 already?
    half: set[str] = set()
    for node in nodes:
        if node.name in keep or not any(output in floats for output in node.output):
            continue
        if node.op_type in HEAVY:
            half.add(node.name)
        elif node.op_type in CARRIED and node.name in leads_on:
            inputs = [value for value in node.input if value in moving]
            if inputs and all(v in maker and maker[v].name in half for v in inputs):
                half.add(node.name)
    return half
