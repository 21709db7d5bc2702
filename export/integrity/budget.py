"""Where the errors of a map's poses come from.

    python -m edge_reloc_export.integrity.budget maps/office=scene maps/yard

Photos are left out of each map, an eighth of them around three views and then half, and
localised against the rest. What they are off by beyond the solver's own covariance, which knows
of keypoints and points, is shared by neighbours or by the whole map. Queries with reference
poses, where a folder with them is named (images/, queries.txt, reference/), add what is farther
away, and the reference. The maps' `MAP.work` folders must be there; changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge_reloc.bundle import open_bundle
from edge_reloc.command_line.program import OK, program
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc.evaluation.score import score_method
from edge_reloc.methods import Settings
from edge_reloc.methods.table import EXHAUSTIVE

from ..packing.packed_model import load_packed
from ..scene.combine import open_any_store
from ..work_folder import at_work, existing_work_folder
from .measure import Try, left_out_tries

NEAR, FAR = 0.12, 0.5  # of all photos, left out around one view
METHOD = f"{EXHAUSTIVE.name}+2"  # of the queries
# Median length of a normal error in three directions of standard deviation 1 in all.
MEDIAN_LENGTH = 0.888


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Position errors of photos left out of a map, map units; standard deviations all."""

    share: float
    poses: int
    #: by the solver's own covariance, in the median
    claimed: float
    #: as found, from the median error
    found: float

    @property
    def shared(self) -> float:
        """Share of the squared error that the solver's covariance does not explain."""
        return max(1.0 - (self.claimed / self.found) ** 2, 0.0)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Of one map."""

    map: str
    metric: bool
    left_out: tuple[LeftOut, ...]
    #: standard deviation of the queries' position from their median error; None without any
    queries: float | None

    def to_json(self) -> dict[str, object]:
        """JSON-ready dictionary."""
        shared = [part.shared for part in self.left_out]
        return {**asdict(self), "shared": shared}


def left_out_errors(share: float, tries: Sequence[Try]) -> LeftOut:
    """Of poses after the second pass."""
    return LeftOut(
        share=share,
        poses=len(tries),
        claimed=float(np.median([t.claimed for t in tries])),
        found=float(np.median([t.error for t in tries])) / MEDIAN_LENGTH,
    )


def budget_of(bundle: Path, data: Path | None) -> Budget:
    """Measure a map; data: folder of queries."""
    work = existing_work_folder(bundle)
    model, store = load_packed(work, open_bundle(bundle)), open_any_store(work)
    parts = []
    with at_work(work):
        for share in (NEAR, FAR):
            _, refined = left_out_tries(bundle, model, store, [share])
            parts += [left_out_errors(share, refined)] if refined else []
    return Budget(
        map=bundle.name,
        metric=model.metric,
        left_out=tuple(parts),
        queries=None if data is None else _queries(bundle, data),
    )


def _queries(bundle: Path, data: Path) -> float | None:
    method = parse_method(METHOD, Settings())
    error = score_method(open_bundle(bundle), read_dataset(data), method, ()).median_error
    return None if error is None else error / MEDIAN_LENGTH


def format_budgets(budgets: Sequence[Budget]) -> str:
    """A table, centimetres; of maps that are not metric hundredths of their unit."""
    rows = [("map", "unit", "left out", "poses", "claimed", "found", "shared", "queries")]
    for budget in budgets:
        queries = "-" if budget.queries is None else f"{100 * budget.queries:.2f}"
        for part in budget.left_out:
            rows.append(
                (
                    budget.map,
                    "cm" if budget.metric else "1/100",
                    f"{part.share:.0%}",
                    f"{part.poses}",
                    f"{100 * part.claimed:.2f}",
                    f"{100 * part.found:.2f}",
                    f"{part.shared:.0%}",
                    queries,
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the budget of each map."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_reloc_export.integrity.budget",
        description="Where the errors of maps come from.",
    )
    parser.add_argument(
        "maps", nargs="+", metavar="MAP[=DATA]", help="map with its work folder, and queries of it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(argv)
    budgets = []
    for text in options.maps:
        bundle, _, data = text.partition("=")
        budgets.append(budget_of(Path(bundle), Path(data) if data else None))
    if options.json:
        print(json.dumps([budget.to_json() for budget in budgets]))
    else:
        print(format_budgets(budgets))
    return OK


if __name__ == "__main__":
    sys.exit(main())
