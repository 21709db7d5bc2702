"""The largest number that each layer puts out on real photos, against float16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..onnx.runtime import open_session
from .convert import FLOAT16_MAX
from .feeds import Feed

MARGIN = 4.0  # other photos than these may drive a layer this much higher


@dataclass(frozen=True, kw_only=True)
class LayerRange:
    """Range of one layer over all feeds."""

    layer: str
    operator: str  #: of the layer; "Input" for an input of the network
    largest: float  #: |activation|
    feed: int  #: in which it was reached

    @property
    def share(self) -> float:
        """Of float16's largest number."""
        return self.largest / FLOAT16_MAX

    @property
    def overflows(self) -> bool:
        """Too near to float16's end to be trusted on other photos."""
        return not self.largest * MARGIN <= FLOAT16_MAX


def layer_ranges(
    model: Any, layers: Sequence[str], feeds: Sequence[Feed], where: str
) -> list[LayerRange]:
    """Ranges of a float32 model's layers and of what feeds them, the largest first.

    layers: those that shall work in float16. Inputs of the network that they read
    count as layers of operator "Input".
    """
    maker = {output: node for node in model.graph.node for output in node.output}
    wanted = set(layers)
    inputs = {value.name for value in model.graph.input}
    values: dict[str, tuple[str, str]] = {}
    for node in model.graph.node:
        if node.name not in wanted:
            continue
        for value in (*node.input, node.output[0]):
            if value in maker:
                values[value] = (maker[value].name, maker[value].op_type)
            elif value in inputs:
                values[value] = (value, "Input")
    inner = [value for value in values if value in maker]
    session = open_session(model, where, outputs=inner)
    largest = dict.fromkeys(values, 0.0)
    at = dict.fromkeys(values, 0)
    for position, feed in enumerate(feeds):
        found = dict(zip(inner, session.run(inner, feed), strict=True)) if inner else {}
        for value in values:
            size = _largest(found[value] if value in found else feed[value])
            if size > largest[value]:
                largest[value], at[value] = size, position
    ranges = [
        LayerRange(layer=name, operator=operator, largest=largest[value], feed=at[value])
        for value, (name, operator) in values.items()
    ]
    return sorted(ranges, key=lambda r: -r.largest)


def overflowing(
    model: Any, layers: Sequence[str], ranges: Sequence[LayerRange]
) -> dict[str, LayerRange]:
    """Layers that must stay float32, with the range that says so.

    A layer is out when what it puts out overflows, or what it reads.
    """
    large = {r.layer: r for r in ranges if r.overflows}
    maker = {output: node.name for node in model.graph.node for output in node.output}
    wanted, out = set(layers), {}
    for node in model.graph.node:
        if node.name in wanted:
            for name in (node.name, *(maker.get(value, value) for value in node.input)):
                if name in large:
                    out[node.name] = large[name]
                    break
    return out


def _largest(values: NDArray[Any]) -> float:
    if not np.issubdtype(values.dtype, np.floating):
        return 0.0
    largest = float(np.abs(values).max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")
