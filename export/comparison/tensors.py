"""Outputs of one network in two forms, on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.features.network import DESCRIPTORS, SCORES, XY
from edge_reloc.inference.engine import Engine

from ..float16.feeds import Feed
from .change import SAME_PX


@dataclass(frozen=True, kw_only=True)
class TensorError:
    """One output. largest and rms: absolute error over all feeds, in its own unit.

    size: RMS of the reference. Rows of a feature network are compared where both
    forms found the same keypoint (within 0.5 px), since their order may differ.
    """

    output: str
    largest: float
    rms: float
    size: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)


def tensor_errors(reference: Engine, other: Engine, feeds: Sequence[Feed]) -> list[TensorError]:
    """Errors of every output of `other`."""
    pairs: dict[str, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
    for feed in feeds:
        wanted, found = _run(reference, feed), _run(other, feed)
        if XY in wanted and SCORES in wanted:
            wanted, found = _same_keypoints(wanted, found)
        for name, value in wanted.items():
            pairs.setdefault(name, []).append((value.ravel(), found[name].ravel()))
    errors = []
    for name, parts in pairs.items():
        a = np.concatenate([first for first, _ in parts]).astype(np.float64)
        b = np.concatenate([second for _, second in parts]).astype(np.float64)
        difference = np.abs(a - b) if len(a) else np.full(1, np.nan)
        errors.append(
            TensorError(
                output=name,
                largest=float(difference.max()),
                rms=float(np.sqrt(np.mean(difference**2))),
                size=float(np.sqrt(np.mean(a**2))) if len(a) else float("nan"),
            )
        )
    return errors


def _run(engine: Engine, feed: Feed) -> dict[str, NDArray[Any]]:
    for name, value in feed.items():
        engine.inputs[name][...] = value
    engine.run()
    return {name: value.copy() for name, value in engine.outputs.items()}


def _same_keypoints(
    wanted: dict[str, NDArray[Any]], found: dict[str, NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    there = wanted[SCORES] > 0
    distance, index = KDTree(np.ascontiguousarray(found[XY])).query(wanted[XY][there], k=1)
    same = distance <= SAME_PX
    rows, others = np.flatnonzero(there)[same], index[same]
    of_keypoints = (XY, SCORES, DESCRIPTORS)
    return (
        {n: value[rows] if n in of_keypoints else value for n, value in wanted.items()},
        {n: value[others] if n in of_keypoints else value for n, value in found.items()},
    )
