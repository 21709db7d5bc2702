"""Scores of one system on one scene, from the poses that it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import comb, sqrt
from typing import Any

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.evaluation.dataset import Dataset
from edge_reloc.evaluation.score import medians
from edge_reloc.evaluation.thresholds import Threshold
from edge_reloc.geometry.rigid import NORMALISED_95, normalised_error, pose_error

from .answers import Answer, answer_of

NORMAL_95 = 1.959964
LOST = float("inf"), 180.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    scene: str
    system: str
    queries: int
    #: with a pose that the system trusts
    localised: int
    #: share (0..1) of all queries within each threshold, and 95 % of where it may lie by chance
    within: dict[str, float]
    within_95: dict[str, tuple[float, float]]
    #: over all queries, failures infinitely far off; None when half of them failed. Map units.
    median: float | None
    median_deg: float | None
    #: 95 % of where the median may lie by chance; None: at infinity
    median_95: tuple[float | None, float | None]
    metric: bool
    #: median distance of the cameras from what they look at, map units
    scene_size: float
    #: share of the poses whose error lies where their covariance says that 95 % do
    covered: float | None
    candidates: float | None
    #: medians of the stages, and of their sum
    stages_ms: dict[str, float]
    total_ms: float | None
    #: most memory of the process; what the method opens of the map; what of it are networks
    #: that serve any place, and what retrieval alone needs; None where nobody tells
    peak_mib: float | None = None
    map_mb: float | None = None
    network_mb: float | None = None
    retrieval_mb: float | None = None
    #: of the map without, and of the networks of this method
    mapping_s: float | None = None
    training_s: float | None = None
    #: as it is typed
    command: str = ""
    #: by query, sorted: translation error, inf for failures
    errors: tuple[float, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; the infinite is None."""
        values = asdict(self)
        values["errors"] = [e if np.isfinite(e) else None for e in self.errors]
        return values


def score(
    system: str,
    answers: Mapping[str, Answer],
    dataset: Dataset,
    thresholds: Sequence[Threshold],
    *,
    metric: bool,
) -> Row:
    """Distances from the reference poses; a query that is missing was not localised."""
    errors: list[tuple[float, float]] = []
    covered, times, candidates = [], [], []
    stages: dict[str, list[float]] = {}
    for query in dataset.queries:
        answer = answer_of(answers, query.name)
        if answer is None or answer.cam_from_world is None:
            errors.append(LOST)
        else:
            error = pose_error(answer.cam_from_world, query.cam_from_world)
            errors.append((error.translation, error.rotation_deg))
            if answer.covariance is not None:
                squared = normalised_error(
                    answer.cam_from_world, answer.covariance, query.cam_from_world
                )
                covered.append(squared <= NORMALISED_95)
        if answer is not None and answer.stages_ms:
            times.append(sum(answer.stages_ms.values()))
            for stage, ms in answer.stages_ms.items():
                stages.setdefault(stage, []).append(ms)
        if answer is not None and answer.candidates is not None:
            candidates.append(answer.candidates)
    table, size = np.array(errors), dataset.size()
    median, median_deg = medians(np.where(np.isfinite(table[:, :1]), table, np.inf))
    counts = {t.text: int(_inside(table, t, size).sum()) for t in thresholds}
    ranked = np.sort(table[:, 0])
    return Row(
        scene=dataset.name,
        system=system,
        queries=len(table),
        localised=int(np.isfinite(table[:, 0]).sum()),
        within={text: count / len(table) for text, count in counts.items()},
        within_95={text: share_interval(count, len(table)) for text, count in counts.items()},
        median=median,
        median_deg=median_deg,
        median_95=median_interval(ranked),
        metric=metric,
        scene_size=size,
        covered=float(np.mean(covered)) if covered else None,
        candidates=float(np.mean(candidates)) if candidates else None,
        stages_ms={stage: round(float(np.median(ms)), 2) for stage, ms in stages.items()},
        total_ms=round(float(np.median(times)), 2) if times else None,
        errors=tuple(ranked.tolist()),
    )


def _inside(errors: F64, threshold: Threshold, size: float) -> np.ndarray[Any, Any]:
    return (errors[:, 0] <= threshold.limit(size)) & (errors[:, 1] <= threshold.rotation_deg)


def share_interval(count: int, of: int) -> tuple[float, float]:
    """Wilson's interval of 95 % (JASA 1927) for a share."""
    z2 = NORMAL_95**2 / of
    middle = (count / of + z2 / 2) / (1 + z2)
    half = sqrt(max(count / of * (1 - count / of) * z2 + z2 * z2 / 4, 0.0)) / (1 + z2)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def median_interval(ranked: F64) -> tuple[float | None, float | None]:
    """Two of the sorted values (N,), between which the median lies with 95 % or more.

    By the binomial distribution of ranks; the whole range where N is below 6. None: infinite.
    """
    n, low, tail = len(ranked), 0, 0.0
    while low < n // 2:
        tail += comb(n, low) * 0.5**n
        if tail > 0.025:
            break
        low += 1
    first = max(low - 1, 0)
    last = ranked[n - 1 - first]
    return _finite(ranked[first]), _finite(last)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
