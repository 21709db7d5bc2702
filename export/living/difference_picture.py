"""Two maps of a place in one picture: what stays, what went, what came."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import missing_package
from edge_reloc.files import write_atomic

from .difference import Difference

KEPT, RETIRED, ADDED = "#909090", "#d62728", "#2ca02c"
EDGE_SHARE = 2.0  # percentile of the points that the panels leave out on each side


def draw_difference(
    path: Path, difference: Difference, gravity: tuple[float, float, float] | None, unit: str
) -> None:
    """Write the picture (PNG): from above, from the side, and the change of each cell.

    gravity: down in the world; None: against z. Raises MissingPackageError, DiskError.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "--picture", "export") from None
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, side, cells = figure.subplots(1, 3)
    axes = _axes(gravity)
    a, b = difference.a @ axes.T, difference.b @ axes.T
    shown = (
        (b[difference.added], ADDED, f"added {len(difference.added)}"),
        (a[difference.kept[:, 0]], KEPT, f"kept {len(difference.kept)}"),
        (a[difference.retired], RETIRED, f"retired {len(difference.retired)}"),
    )
    for panel, row, title in ((above, 1, "from above"), (side, 2, "from the side")):
        for xyz, colour, label in shown:
            panel.scatter(
                xyz[:, 0], xyz[:, row], s=1.5, c=colour, label=label, linewidths=0, alpha=0.7
            )
        _frame(panel, a, row, f"{title} ({unit})")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower left", ncols=3,
                  markerscale=6, frameon=False)  # fmt: skip
    centre = difference.centre @ axes.T
    count = difference.by_cell()
    share = count["retired"] / np.maximum(count["kept"] + count["retired"], 1)
    drawn = cells.scatter(
        centre[:, 0], centre[:, 1], c=share, s=6 + 3 * np.sqrt(count["added"]), cmap="coolwarm",
        vmin=0, vmax=1, linewidths=0,
    )  # fmt: skip
    _frame(cells, a, 1, f"cells from above ({unit}); the larger, the more came")
    figure.colorbar(drawn, ax=cells, label="share of the cell's points that went")
    stream = io.BytesIO()
    figure.savefig(stream, dpi=80, format="png")
    write_atomic(path, stream.getvalue())


def _axes(gravity: tuple[float, float, float] | None) -> F64:
    """Rows (3,3): two level directions and up."""
    up = np.array([0.0, 0.0, 1.0]) if gravity is None else -np.array(gravity, np.float64)
    level = np.eye(3)[0 if abs(up[0]) < 0.7 else 1]
    first = level - (level @ up) * up
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first), up])


def _frame(panel: Any, xyz: F64, row: int, title: str) -> None:
    """Equal scales, without what lies far away."""
    low, high = np.percentile(xyz, [EDGE_SHARE, 100 - EDGE_SHARE], axis=0)
    room = 0.15 * float((high - low).max())
    panel.set_xlim(low[0] - room, high[0] + room)
    panel.set_ylim(low[row] - room, high[row] + room)
    panel.set_aspect("equal")
    panel.set_title(title, fontsize=9)
    panel.tick_params(labelsize=7)
