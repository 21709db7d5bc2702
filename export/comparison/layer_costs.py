"""Which layers cost most in float16, and what keeping them in float32 would buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..float16.convert import SUFFIX, Float16Graph, to_float16
from ..float16.feeds import Feed
from ..float16.placement import HEAVY
from ..float16.rounding import rounded
from ..onnx.runtime import open_session

ROUNDING = 2.0**-11  # relative error of one float16 number, at most
TOLERATED = 4 * ROUNDING  # an error that no island needs to cure
CHOOSING = frozenset({"TopK", "ArgMax", "ArgMin", "NonMaxSuppression"})
DOMINANT = 0.5  # a layer that alone makes this share of the error is worth keeping


@dataclass(frozen=True, kw_only=True)
class LayerCosts:
    """Errors relative to the RMS of what the float16 part hands on, worst value.

    error: with every heavy layer in float16; cost: with one layer alone, largest
    first; proposed: layers to keep in float32, where the error is over TOLERATED;
    error_with_proposal: what is left then.
    """

    error: float
    cost: tuple[tuple[str, float], ...]
    proposed: tuple[str, ...]
    error_with_proposal: float


def layer_costs(
    model: Any, feeds: Sequence[Feed], where: str, *, keep: Sequence[str] = ()
) -> LayerCosts:
    """Put one heavy layer at a time into float16 and see what it does.

    model: float32 ModelProto. keep: islands that are given.
    """
    whole = to_float16(model, where, keep=keep)
    heavy = [n.name for n in model.graph.node if n.op_type in HEAVY and n.name in whole.half]
    values = _handed_on(whole)
    wanted = _values(model, values, feeds, where)

    def error(kept: Sequence[str]) -> float:
        graph = to_float16(model, where, keep=[*keep, *kept])
        found = _values(rounded(graph.model), values, feeds, where)
        return max(_relative(a, b) for a, b in zip(wanted, found, strict=True))

    total = error([])
    costs = {name: error([other for other in heavy if other != name]) for name in heavy}
    ranked = sorted(costs.items(), key=lambda item: -item[1])
    proposed: tuple[str, ...] = ()
    if total > TOLERATED:
        proposed = tuple(name for name, cost in ranked if cost > DOMINANT * total)
    return LayerCosts(
        error=total,
        cost=tuple(ranked),
        proposed=proposed,
        error_with_proposal=error(proposed) if proposed else total,
    )


def _handed_on(graph: Float16Graph) -> list[str]:
    """Values made in float16 and read in float32, before anything is chosen.

    After a choice (top K) rows stand in another order, and no number can be
    compared with the one in its place.
    """
    chosen: set[str] = set()
    values = []
    for node in graph.model.graph.node:
        if node.op_type in CHOOSING or chosen.intersection(node.input):
            chosen.update(node.output)
        elif node.op_type == "Cast" and node.input[0] == node.output[0] + SUFFIX:
            values.append(node.output[0])
    return values


def _values(
    model: Any, names: list[str], feeds: Sequence[Feed], where: str
) -> list[NDArray[np.float64]]:
    """One array per value, all feeds joined."""
    session = open_session(model, where, outputs=names)
    runs = [session.run(names, feed) for feed in feeds]
    columns = zip(*runs, strict=True)
    return [np.concatenate([np.ravel(x).astype(np.float64) for x in c]) for c in columns]


def _relative(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    size = float(np.sqrt(np.mean(wanted**2)))
    return float(np.sqrt(np.mean((wanted - found) ** 2))) / max(size, 1e-12)
