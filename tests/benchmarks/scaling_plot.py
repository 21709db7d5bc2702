"""The table and the plot of what `scaling.py` measured.

python tests/benchmarks/scaling_plot.py scaling.json --plot scaling.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

RIGHT_M, RIGHT_DEG = 0.10, 1.0
STAGES = ("retrieve", "match", "solve", "second_pass", "track")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the answers of one method in one world."""
    ms = [row["ms"] for row in rows]
    errors = [row["error"] for row in rows if row["error"] is not None]
    right = sum(e[0] <= RIGHT_M and e[1] <= RIGHT_DEG for e in errors)
    stages = {
        stage: float(np.median([row["stages_ms"].get(stage, 0.0) for row in rows]))
        for stage in STAGES
    }
    return {
        "p50": float(np.median(ms)),
        "p99": float(np.percentile(ms, 99)),
        "right": right / len(rows),
        "wrong": (len(errors) - right) / len(rows),
        "cm": 100 * float(np.median([e[0] for e in errors])) if errors else float("nan"),
        "candidates": float(np.median([row["candidates"] for row in rows])),
        "arena_mb": rows[0]["arena_mb"],
        "map_mb": rows[0]["map_mb"],
        "stages": stages,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rows = [row for path in options.measured for row in json.loads(path.read_text())]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    print(
        "| method | points | p50 ms | p99 | retrieve | match | solve | second pass | track | right "
        "| wrong | median cm | candidates | arena MB | map MB |\n" + "|---" * 15 + "|"
    )
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        for points in sorted({row["points"] for row in own}):
            s = summary([row for row in own if row["points"] == points])
            found.setdefault(method, []).append((points, s))
            stages = " | ".join(f"{s['stages'][stage]:.1f}" for stage in STAGES)
            print(
                f"| {method} | {points:,} | {s['p50']:.1f} | {s['p99']:.1f} | {stages} "
                f"| {s['right']:.0%} | {s['wrong']:.0%} | {s['cm']:.1f} | {s['candidates']:,.0f} "
                f"| {s['arena_mb']:.1f} | {s['map_mb']:.1f} |"
            )
    if options.plot is not None:
        draw(found, options.plot)
    return 0


def draw(found: dict[str, list[tuple[int, dict[str, Any]]]], path: Path) -> None:
    """Time, accuracy and memory against points; a line a method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (time, right, memory) = pyplot.subplots(1, 3, figsize=(12, 3.6))
    for method, entries in found.items():
        points = [p for p, _ in entries]
        (line,) = time.plot(points, [s["p50"] for _, s in entries], marker="o", label=method)
        time.plot(points, [s["p99"] for _, s in entries], ":", color=line.get_color())
        right.plot(points, [100 * s["right"] for _, s in entries], marker="o")
        memory.plot(points, [s["arena_mb"] for _, s in entries], marker="o")
    time.set(yscale="log", ylabel="ms CPU a frame, dotted p99")
    right.set(ylabel=f"% within {100 * RIGHT_M:.0f} cm, {RIGHT_DEG:.0f}°", ylim=(50, 102))
    memory.set(ylabel="buffers, MB")
    for panel in (time, right, memory):
        panel.set(xscale="log", xlabel="map points")
        panel.grid(alpha=0.3)
    time.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    sys.exit(main())
