"""Rows of the table: poses that were written, scored, with what was measured beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_reloc.errors import SourceError
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc.evaluation.thresholds import parse_thresholds
from edge_reloc.methods.table import EXHAUSTIVE
from edge_reloc.running.budget import MIB

from ..datasets.scene import Scene
from ..kept_files import read_object
from ..photos.numbers import finite
from .answers import read_answers
from .scoring import Row, score


def row_of(
    data: Path, system: str, poses: Path, scene: Scene, every: int, command: str = ""
) -> Row:
    """Of one system on a prepared scene. Raises SourceError.

    FILE.facts.json beside FILE.jsonl, where there is one, has `peak_bytes` of the process,
    `map_bytes` that it opens, `network_bytes` of these that are no place's own, and `mapping_s`
    and `training_s`; null or left out is what nobody knows.
    """
    dataset = replace(read_dataset(data, every=every), name=scene.name)
    thresholds = parse_thresholds(scene.thresholds)
    row = score(system, read_answers(poses), dataset, thresholds, metric=scene.metric)
    row = replace(row, command=command)
    measured = poses.with_suffix(".facts.json")
    if not measured.is_file():
        return row
    told = {name: value for name, value in read_object(measured).items() if value is not None}
    took = {name: finite(value) for name, value in told.items()}
    if None in took.values():
        raise SourceError(f"{measured}: found {told}, expected numbers by name")
    return replace(
        row,
        peak_mib=_part(took.get("peak_bytes"), MIB),
        map_mb=_part(took.get("map_bytes"), 1e6),
        network_mb=_part(took.get("network_bytes"), 1e6),
        mapping_s=took.get("mapping_s"),
        training_s=took.get("training_s"),
    )


def _part(value: float | None, of: float) -> float | None:
    return None if value is None else value / of


def with_retrieval(row: Row, rows: Sequence[Row]) -> Row:
    """What a method opens beyond matching all points, where that was run, too."""
    alone = next((r.map_mb for r in rows if r.system.partition("+")[0] == EXHAUSTIVE.name), None)
    if alone is None or row.map_mb is None:
        return row
    return replace(row, retrieval_mb=max(row.map_mb - alone, 0.0))
