"""Layers of an ONNX graph under the names that a person knows them by."""

from __future__ import annotations

import ast
from collections import Counter
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter says which module a node is of


def name_layers(model: Any) -> None:
    """Name each node `module/Operator` and drop all other metadata, in place.

    A node of the module `network.fusion.0` becomes `network.fusion.0/Conv`, so that
    every later report and error names a place in the network; a node of another
    exporter keeps the name it has. What is dropped is traces of the machine that
    exported it, and up to half of a small file.
    """
    used: Counter[str] = Counter()
    graph = model.graph
    for node in graph.node:
        module = _module(node)
        name = f"{module}/{node.op_type}" if module else node.name or node.op_type
        used[name] += 1
        node.name = name if used[name] == 1 else f"{name}_{used[name] - 1}"
        node.doc_string = ""
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""


def _module(node: Any) -> str | None:
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 and scopes[-2] else "network"
    return None
