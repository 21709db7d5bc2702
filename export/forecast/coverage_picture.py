"""A map from above: at every place a wheel of headings, and how exact the best one is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.geometry.rigid import camera_centre

from ..scene.model import SceneModel
from ..training.plots import save_figure
from .coverage_files import Coverage
from .predict import Expected

COLOUR = {Expected.WORKS: "#1a9850", Expected.DOUBTFUL: "#fdae61", Expected.NOT: "#d73027"}
POINTS = 6000  # of the map, drawn at most


def draw(path: Path, coverage: Coverage, model: SceneModel) -> None:
    """Write a PNG."""
    from matplotlib.collections import PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle, Wedge

    grid = coverage.grid
    turn = grid.level.level_from_world
    points = (model.xyz @ turn.T)[:: max(len(model.xyz) // POINTS, 1)]
    cameras = np.array([camera_centre(view.cam_from_world) for view in model.views]) @ turn.T
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    half = 180.0 / len(grid.heading_rad)
    for status, colour in COLOUR.items():
        wedges = [
            # Headings run clockwise from y, wedges anticlockwise from x.
            Wedge(place[:2], 0.46 * grid.step, middle - half, middle + half)
            for place, row in zip(grid.place, coverage.predictions, strict=True)
            for middle, found in zip(90.0 - np.degrees(grid.heading_rad), row, strict=True)
            if found.status is status
        ]
        left.add_collection(PatchCollection(wedges, facecolor=colour, edgecolor="white", lw=0.2))
    left.legend(
        handles=[
            Patch(color=c, label=f"{s.value} {coverage.share(s):.0%}") for s, c in COLOUR.items()
        ],
        loc="upper right",
        fontsize=8,
    )
    left.set_title("will it localise, by heading")
    shown = _best(coverage)
    scale = 100.0 if coverage.world.metric else 1.0
    unit = "cm" if coverage.world.metric else "map units"
    side = 0.92 * grid.step
    squares = [Rectangle(place[:2] - 0.5 * side, side, side) for place in grid.place]
    tiles = PatchCollection(squares, cmap="viridis_r", norm="log")
    tiles.set_array(np.ma.masked_invalid(scale * shown))
    right.add_collection(tiles)
    bar = figure.colorbar(tiles, ax=right, label=f"standard deviation of the position, {unit}")
    for axis in (bar.ax.yaxis.set_major_formatter, bar.ax.yaxis.set_minor_formatter):
        axis("{x:.2g}")
    right.set_title("how exactly, at the median of its working headings")
    for axes in (left, right):
        axes.plot(*points[:, :2].T, ",", color="black", alpha=0.35, zorder=3)
        axes.plot(*cameras[:, :2].T, ".", color="royalblue", ms=2.5, zorder=4)
        axes.set_aspect("equal")
        axes.set_xlabel(f"{'east' if coverage.world.georeference else 'x'}, {coverage.unit}")
    left.set_ylabel(f"{'north' if coverage.world.georeference else 'y'}, {coverage.unit}")
    low, high = (f(grid.place[:, :2], axis=0) for f in (np.min, np.max))
    left.set_xlim(low[0] - grid.step, high[0] + grid.step)
    left.set_ylim(low[1] - grid.step, high[1] + grid.step)
    save_figure(figure, path, dpi=90)


def _best(coverage: Coverage) -> F64:
    """(G,): median standard deviation of a place's working headings, NaN without one."""
    return np.array([_median([p.position for p in row if p.status is Expected.WORKS])
                     for row in coverage.predictions])  # fmt: skip


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")
