"""What a map came out as, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scene.grade import Grade
    from .scene.model import SceneModel


def grade_line(grade: Grade) -> str:
    """The grade in one line."""
    shares = (
        (grade.placed, "placed"),
        (grade.pairs, "pairs agree"),
        (grade.left_out, "found when left out"),
        (grade.positions, "known positions agree"),
    )
    told = [f"{share:.0%} {what}" for share, what in shares if share is not None]
    bridge = [] if grade.bridge is None else [f"parts joined by {grade.bridge} points or more"]
    return f"{grade.verdict} ({', '.join(told + bridge)})"


def summarise(model: SceneModel, grade: Grade, names: Sequence[str]) -> dict[str, Any]:
    """JSON-ready facts of a map's model, of the photos that were asked for."""
    from .scene.clean import point_statistics

    statistics = point_statistics(model)
    used = {view.name for view in model.views if len(view.point_id)}
    return {
        "photos": len(used),
        "skipped": [name for name in names if name not in used],
        "points": len(model.xyz),
        "mean_track_length": round(float(statistics.length.mean()), 2),
        "mean_reprojection_error_px": round(float(statistics.error_px.mean()), 3),
        "metric": model.metric,
        "georeferenced": model.georeference is not None,
        "turned": sum(1 for view in model.views if view.quarter_turns),
        "grade": {**grade.to_dict(), "line": grade_line(grade)},
        "notes": model.notes,
    }


def to_text(summary: dict[str, Any], output: Path) -> str:
    """The same in lines."""
    if "tiles" in summary:
        return _tiles_to_text(summary, output)
    skipped = summary["skipped"]
    lines = [
        f"{output}: {summary['packed_points']} points from {summary['photos']} photos, "
        f"{summary['megabytes']} MB, {summary['seconds']} s",
        f"  seen by {summary['mean_track_length']} photos each, "
        f"reprojection error {summary['mean_reprojection_error_px']} px, "
        f"{'metric' if summary['metric'] else 'not metric'}"
        f"{', georeferenced' if summary['georeferenced'] else ''}",
    ]
    grade = summary["grade"]
    lines.append(f"  reconstruction {grade['line']}")
    tries = summary["left_out_tries"]
    lines.append(
        f"  errors measured on photos left out, {tries} tries"
        if tries
        else "  errors guessed: too few photos to leave some out"
    )
    if summary["turned"]:
        lines.append(f"  {summary['turned']} photos were turned to the map's heading")
    if summary["copies"]:
        shown = [f"{name} is {first}" for name, first in list(summary["copies"].items())[:3]]
        lines.append(f"  {len(summary['copies'])} copies left out: {', '.join(shown)}")
        skipped = [name for name in skipped if name not in summary["copies"]]
    if skipped:
        lines.append(f"  {len(skipped)} photos not used: {', '.join(skipped)}")
    lines += [f"  {note}" for note in [*summary["not_read"], *summary["notes"]]]
    return "\n".join(lines)


def _tiles_to_text(summary: dict[str, Any], output: Path) -> str:
    lines = [
        f"{output}: {summary['points']} points from {summary['photos']} photos in "
        f"{len(summary['tiles'])} tiles, {summary['megabytes']} MB, {summary['seconds']} s, "
        f"{'metric' if summary['metric'] else 'not metric'}"
        f"{', georeferenced' if summary['georeferenced'] else ''}",
    ]
    for name, tile in summary["tiles"].items():
        lines.append(
            f"  {name}: {tile['points']} points from {tile['photos']} photos, "
            f"{tile['grade']['line']}"
        )
    if summary["skipped"]:
        lines.append(f"  {len(summary['skipped'])} photos not used")
    return "\n".join([*lines, *(f"  {note}" for note in [*summary["not_read"], *summary["notes"]])])
