"""Loss and recall curves as pictures."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

from edge_reloc.errors import DiskError
from edge_reloc.files import write_atomic

from .report import History
from .visible_structure.tuning import Curve

log = logging.getLogger(__name__)


def save_figure(figure: Any, path: Path, *, dpi: int) -> None:
    """A figure of matplotlib as PNG; one that cannot be written costs no training."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=dpi, format="png")
    try:
        write_atomic(path, stream.getvalue())
    except DiskError as error:
        log.warning("%s", error)


def plot_heads(path: Path, head: str, losses: History, curve: Curve) -> None:
    """Loss over steps, and recall over share of the map on held-out photos."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if losses:
        left.plot([step for step, _ in losses], [loss for _, loss in losses])
    left.set_xlabel("step")
    left.set_ylabel("loss")
    left.set_title(head)
    right.plot(curve.share, curve.recall, marker="o")
    right.set_xlabel("share of the map returned")
    right.set_ylabel("share of the visible points found")
    right.set_title("held-out photos")
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=110)


def plot_recognition(path: Path, losses: History) -> None:
    """Loss over iterations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([step for step, _ in losses], [loss for _, loss in losses])
    axes.set_xlabel("iteration")
    axes.set_ylabel("weighted cross entropy")
    axes.set_title("recognition")
    axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=110)
