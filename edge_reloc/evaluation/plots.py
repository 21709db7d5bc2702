"""Plots of scores and curves as PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, missing_package
from ..files import check_writable, write_atomic
from .claims import AXES, pit
from .curves import RetrievalCurve
from .score import Score

PIT_BINS = 10


def check_plot(path: Path) -> None:
    """ConfigError or DiskError where no plot could be written: before long work, not after."""
    figure, _ = _panels([])
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ConfigError(f"{path}: expected a picture named .png, or one of .{', .'.join(known)}")
    check_writable(path)


def plot_errors(path: Path, scores: list[Score]) -> None:
    """Share of queries within a translation error, a panel a scene."""
    figure, panels = _panels(sorted({s.scene for s in scores}))
    for score in scores:
        error = np.sort([e[2] for e in score.errors])
        share = np.arange(1, len(error) + 1) / len(error)
        good = np.isfinite(error)
        panels[score.scene].plot(error[good], share[good], label=score.method)
    for panel in panels.values():
        panel.set_xscale("log")
        panel.set_xlabel("translation error (map units)")
        panel.set_ylabel("share of queries")
        panel.set_ylim(0, 1)
    _finish(figure, panels, path)


def plot_curves(path: Path, curves: list[RetrievalCurve]) -> None:
    """Retrieval curves, a panel a scene."""
    figure, panels = _panels(sorted({c.scene for c in curves}))
    for curve in curves:
        panels[curve.scene].plot(curve.share, curve.recall, marker="o", label=curve.method)
    for panel in panels.values():
        panel.set_xlabel("share of the map returned")
        panel.set_ylabel("share of exhaustive's inlier points found")
        panel.set_ylim(0, 1)
    _finish(figure, panels, path)


def plot_stanford(path: Path, scores: list[Score], alert_limit_m: float | None) -> None:
    """Error against protection level of every pose, level and upright; a panel a scene."""
    figure, panels = _panels(sorted({s.scene for s in scores if s.levelled}))
    for score in scores:
        known = [claim for claim in score.claims if claim.error and claim.level]
        if known:
            error = [claim.error[:2] for claim in known if claim.error]
            level = [claim.level[:2] for claim in known if claim.level]
            panels[score.scene].plot(
                np.ravel(level), np.ravel(error), ".", ms=4, label=score.method
            )
    for panel in panels.values():
        panel.axline((1e-3, 1e-3), (1.0, 1.0), color="black", lw=1, label="misleading above")
        if alert_limit_m is not None:
            panel.axvline(alert_limit_m, color="red", lw=1, label="unavailable beyond")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("protection level (m)")
        panel.set_ylabel("error (m)")
    _finish(figure, panels, path)


def plot_reliability(path: Path, bins: list[tuple[float, float, int]]) -> None:
    """Share that was right against what was said of it; bins: said, right, poses."""
    figure, panels = _panels(["reliability"])
    panel = panels["reliability"]
    panel.axline((0, 0), (1, 1), color="black", lw=1, label="calibrated")
    said, right, poses = zip(*bins, strict=True)
    panel.plot(said, right, marker="o", label="poses")
    for x, y, count in zip(said, right, poses, strict=True):
        panel.annotate(str(count), (x, y), textcoords="offset points", xytext=(5, -10), fontsize=8)
    panel.set_xlabel("chance of being right, as said")
    panel.set_ylabel("share of poses that were right")
    _finish(figure, panels, path)


def plot_pit(path: Path, scores: list[Score]) -> None:
    """Probability integral transforms of every pose, a row a scene, a panel an axis.

    Level along 1 where covariances are true; high at both ends where they are too small, high
    in the middle where they are too large, aslant where errors lean to one side.
    """
    scenes = sorted({s.scene for s in scores if s.claims})
    figure, panels = _panels([f"{scene}, {axis}" for scene in scenes for axis in AXES], len(AXES))
    for score in scores:
        for axis, values in zip(AXES, pit(score.claims).T, strict=False):  # no claims, no axes
            panels[f"{score.scene}, {axis}"].hist(
                values, PIT_BINS, (0, 1), density=True, histtype="step", label=score.method
            )
    for panel in panels.values():
        panel.axhline(1.0, color="black", lw=1)
        panel.set_xlabel("claimed probability of a smaller error")
        panel.set_ylabel("density")
    _finish(figure, panels, path)


def _panels(names: list[str], columns: int | None = None) -> tuple[Any, dict[str, Any]]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("matplotlib", "plotting", "export") from None
    columns = columns or max(len(names), 1)
    rows = max(len(names) // columns, 1)
    width = 5.0 if rows == 1 and columns < len(AXES) else 3.2
    figure = Figure(figsize=(width * columns, 0.8 * width * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    panels = dict(zip(names, axes, strict=False))
    for name, panel in panels.items():
        panel.set_title(name)
    return figure, panels


def _finish(figure: Any, panels: dict[str, Any], path: Path) -> None:
    for panel in panels.values():
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=120, format=path.suffix[1:].lower())
    write_atomic(path, stream.getvalue())
