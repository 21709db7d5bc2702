"""One network to float16: ranges first, islands where they call for it, proof."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_reloc.errors import EngineError

from ..onnx.runtime import open_session
from .convert import FLOAT16_MAX, Float16Graph, to_float16
from .feeds import Feed
from .ranges import MARGIN, LayerRange, layer_ranges, overflowing
from .rounding import rounded

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Float16Network:
    """A converted network with its report."""

    graph: Float16Graph
    #: of the layers that were candidates, the largest first; empty without feeds
    ranges: tuple[LayerRange, ...]
    overflow: tuple[LayerRange, ...]  #: layers kept in float32 because of their range


def convert_network(
    model: Any,
    feeds: Sequence[Feed],
    where: str,
    *,
    keep: Sequence[str] = (),
    strict: bool = False,
) -> Float16Network:
    """Convert a float32 ModelProto; layers that overflow on the feeds stay float32.

    strict: refuse instead, naming the layer and the island that would cure it.
    Raises EngineError, also when the result puts out numbers that are not finite.
    """
    graph = to_float16(model, where, keep=keep)
    ranges: list[LayerRange] = []
    out: dict[str, LayerRange] = {}
    if feeds:
        ranges = layer_ranges(model, graph.half, feeds, where)
        out = overflowing(model, graph.half, ranges)
    if out and strict:
        layer, worst = next(iter(out.items()))
        raise EngineError(
            f"{where}: layer '{worst.layer}' reaches {worst.largest:.3g}, and float16 ends at "
            f"{FLOAT16_MAX:.0f} (a margin of {MARGIN:g} is kept); keep it in float32 with "
            f"--keep-float32 '{layer}'"
        )
    for layer, reason in out.items():
        log.info(
            "%s: '%s' stays float32: '%s' reaches %.3g, float16 ends at %.0f",
            *(where, layer, reason.layer, reason.largest, FLOAT16_MAX),
        )
    if out:
        graph = to_float16(model, where, keep=[*keep, *map(_literal, out)])
    _prove(rounded(graph.model), feeds, where)
    return Float16Network(
        graph=graph, ranges=tuple(ranges), overflow=tuple(dict.fromkeys(out.values()))
    )


def _prove(model: Any, feeds: Sequence[Feed], where: str) -> None:
    """It loads, and on every feed it puts out finite numbers."""
    session = open_session(model, where)
    for feed in feeds:
        for value, found in zip(session.get_outputs(), session.run(None, feed), strict=True):
            if not np.isfinite(found).all():
                raise EngineError(
                    f"{where}: '{value.name}' is not finite in float16 though no layer's output "
                    f"overflows by itself; keep the layers before it in float32 with "
                    f"--keep-float32 PATTERN"
                )


def _literal(name: str) -> str:
    """A layer's name as a pattern that fits nothing else."""
    return name.replace("[", "[[]")
