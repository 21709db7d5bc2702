"""Scores as a table for people."""

from __future__ import annotations

from itertools import compress

from .score import Score

STAGES = ("extract", "retrieve", "match", "solve", "second_pass", "track")

OPTIONAL = ("level", "beyond", "top-1", "track")


def format_table(scores: list[Score]) -> str:
    """Plain-text table, one row a method, a headed block a scene.

    Times are p50/p95 milliseconds; `second` is the pose-guided second pass, `top-1` the
    share of keypoints whose landmark was recognised, `covered` that of the poses whose error
    lies where their covariance says that 95 % do, `claimed` their median standard deviation,
    `level` their median protection level, `beyond` those whose error exceeds a level. `median
    (all)` counts queries without a trusted pose as infinitely far off, `median (ok)` leaves
    them out. Columns that no row has are left out.
    """
    blocks = []
    for scene, place in dict.fromkeys((s.scene, s.map) for s in scores):
        rows = [s for s in scores if (s.scene, s.map) == (scene, place)]
        header = ["method", *rows[0].within, "ok", "median (all)", "median (ok)"]
        header += ["covered", "claimed", "level", "beyond", "cand.", "of map"]
        header += ["top-1", "extract", "retrieve", "match", "solve", "second", "track"]
        header += ["total ms", "map MB"]
        table = [_row(s) for s in rows]
        used = [
            name not in OPTIONAL or any(row[i] != "-" for row in table)
            for i, name in enumerate(header)
        ]
        lines = [list(compress(line, used)) for line in [header, *table]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        title = f"{scene}: {rows[0].queries} queries, map {place} with {rows[0].map_points} points"
        if not rows[0].metric:
            title += ", not metric: errors in % of the cameras' median distance"
        blocks.append(f"{title}\n{text}")
    return "\n\n".join(blocks)


def _row(score: Score) -> list[str]:
    times = [score.stages_ms.get(stage) for stage in STAGES]
    return [
        score.method,
        *(f"{100 * share:.1f} %" for share in score.within.values()),
        f"{100 * score.ok / max(score.queries, 1):.1f} %",
        _error(score, score.median_error, score.median_deg),
        _error(score, score.median_error_ok, score.median_deg_ok),
        "-" if score.covered is None else f"{100 * score.covered:.0f} %",
        "-" if score.sigma is None else _distance(score, score.sigma),
        "-" if score.level_m is None else _distance(score, score.level_m),
        f"{score.misleading} of {score.levelled}" if score.levelled else "-",
        f"{score.candidates:.0f}",
        f"{100 * score.candidates / max(score.map_points, 1):.1f} %",
        "-" if score.recognised is None else f"{100 * score.recognised:.1f} %",
        *("-" if t is None else f"{t[0]:.1f}/{t[1]:.1f}" for t in times),
        f"{score.total_ms[0]:.1f}/{score.total_ms[1]:.1f}",
        f"{score.map_mb:.2f}",
    ]


def _error(score: Score, distance: float | None, degrees: float | None) -> str:
    """A distance in cm or m, or in % of the scene where the map is not metric, and an angle."""
    if distance is None or degrees is None:
        return "-"
    return f"{_distance(score, distance)} {degrees:.3f}°"


def _distance(score: Score, distance: float) -> str:
    if not score.metric:
        return f"{100 * distance / score.scene_size:.2f} %"
    scale, unit = (100.0, "cm") if distance < 1.0 else (1.0, "m")
    return f"{distance * scale:.2f} {unit}"
