"""The table of a benchmark as Markdown, and as one HTML page with its curves."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from html import escape
from typing import Any

from .ratios import compare
from .scoring import Row

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1400px;margin:2rem auto;padding:0 1rem;"
    "color:#1c2430}table{border-collapse:collapse;margin:.5rem 0;font-size:13px}"
    "td,th{padding:.15rem .8rem .15rem 0;text-align:right;border-bottom:1px solid #e3e7ec;"
    "white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}code{font-size:12px}svg{max-width:100%}"
)
FEW_QUERIES = 50  # below this a figure is told with where it may lie by chance
NOTE = (
    "Medians and shares are over all queries, failures included. Of fewer than "
    f"{FEW_QUERIES} queries, brackets hold where a figure may lie by chance (95 %). covered: share "
    "of the poses whose error lies where their covariance says that 95 % do. Times are medians, "
    "by the clock. map: what the method opens; of it networks: those that serve any place; of it "
    "retrieval: what it opens beyond the points and the feature network. mapping: poses given; "
    "training: of this method's networks."
)


def to_markdown(rows: Sequence[Row], notes: Sequence[str] = (), against: str | None = None) -> str:
    """A headed table a scene, its commands below it, and notes on what was left out.

    against: a system that all others are compared with, in a table of their ratios.
    """
    parts = ["# Benchmark", "", NOTE, ""]
    for scene, group in _by_scene(rows).items():
        head, body = _cells(group)
        parts += [f"## {scene}: {group[0].queries} queries", ""]
        parts += _markdown(head, body)
        compared = compare(group, against)
        if compared:
            parts += ["", f"Against {against}:", ""]
            parts += _markdown(*compared)
        parts += ["", "```bash", *dict.fromkeys(row.command for row in group if row.command)]
        parts += ["```", ""]
    parts += [f"- {note}" for note in notes]
    return "\n".join(parts).rstrip() + "\n"


def to_html(rows: Sequence[Row], notes: Sequence[str] = (), against: str | None = None) -> str:
    """One document with its style and drawings inside."""
    parts = ["<h1>Benchmark</h1>", f"<p>{escape(NOTE)}</p>"]
    for scene, group in _by_scene(rows).items():
        head, body = _cells(group)
        parts.append(f"<h2>{escape(scene)}: {group[0].queries} queries</h2>")
        parts.append(_table(head, body))
        compared = compare(group, against)
        if compared:
            parts += [f"<p>Against {escape(str(against))}:</p>", _table(*compared)]
        parts.append(_curves(group))
        commands = dict.fromkeys(row.command for row in group if row.command)
        parts += [f"<p><code>{escape(command)}</code></p>" for command in commands]
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Benchmark</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    lines = (
        "<tr>" + "".join(f"<td>{escape(word)}</td>" for word in line) + "</tr>" for line in body
    )
    return f"<table><tr>{cells}</tr>{''.join(lines)}</table>"


def _by_scene(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.scene, []).append(row)
    return groups


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    head = ["system", *rows[0].within, "localised", "median", "covered", "candidates"]
    head += ["ms a frame", "peak MiB", "map MB", "of it networks", "of it retrieval"]
    head += ["mapping s", "training s"]
    return head, [_line(row) for row in rows]


def _line(row: Row) -> list[str]:
    few = row.queries < FEW_QUERIES
    shares = []
    for text, share in row.within.items():
        low, high = row.within_95[text]
        by_chance = f" [{100 * low:.0f}, {100 * high:.0f}]" if few else ""
        shares.append(f"{100 * share:.1f} %{by_chance}")
    return [
        row.system,
        *shares,
        f"{row.localised}",
        _median(row, few),
        _number(row.covered, "{:.0%}"),
        _number(row.candidates, "{:.0f}"),
        _number(row.total_ms, "{:.1f}"),
        _number(row.peak_mib, "{:.0f}"),
        _number(row.map_mb, "{:.2f}"),
        _number(row.network_mb, "{:.2f}"),
        _number(row.retrieval_mb, "{:.2f}"),
        _number(row.mapping_s, "{:.0f}"),
        _number(row.training_s, "{:.0f}"),
    ]


def _median(row: Row, few: bool) -> str:
    if row.median is None or row.median_deg is None:
        return "-"
    low, high = row.median_95
    begin = "∞" if low is None else _distance(row, low)
    end = "∞" if high is None else _distance(row, high)
    by_chance = f" [{begin}, {end}]" if few else ""
    return f"{_distance(row, row.median)}{by_chance} {row.median_deg:.2f}°"


def _distance(row: Row, value: float) -> str:
    if not row.metric:
        return f"{100 * value / row.scene_size:.2f} %"
    return f"{100 * value:.2f} cm" if value < 1.0 else f"{value:.2f} m"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _curves(rows: Sequence[Row]) -> str:
    """Cumulative errors, time against accuracy, map size against accuracy, as one drawing."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    unit, scale = ("cm", 100.0) if rows[0].metric else ("% of the scene", 100 / rows[0].scene_size)
    for number, row in enumerate(rows):
        colour = f"C{number}"
        errors = [scale * e for e in row.errors if math.isfinite(e)]
        shares = [100 * (k + 1) / row.queries for k in range(len(errors))]
        axes[0].step(errors, shares, where="post", label=row.system, color=colour)
        if errors:  # up from nothing
            axes[0].plot([errors[0]] * 2, [0, shares[0]], color=colour)
    axes[0].set(xscale="log", xlabel=f"error, {unit}", ylabel="% of all queries", ylim=(0, 101))
    axes[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[0].xaxis.set_minor_formatter(NullFormatter())
    axes[0].legend(fontsize=7)
    first = next(iter(rows[0].within))
    _scatter(axes[1], rows, "total_ms", "ms a frame", first)
    _scatter(axes[2], rows, "map_mb", "map, MB", first)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    plt.close(figure)
    text = drawn.getvalue()
    return text[text.index("<svg") :]  # without what a file of its own begins with


def _scatter(axes: Any, rows: Sequence[Row], name: str, label: str, threshold: str) -> None:
    """Points in the colours of the curves."""
    for number, row in enumerate(rows):
        value = getattr(row, name)
        if value is not None:
            axes.plot(value, 100 * row.within[threshold], "o", markersize=6, color=f"C{number}")
    axes.set(xlabel=label, ylabel=f"% within {threshold}", ylim=(0, 105))
    axes.set_xlim(0, 1.1 * axes.get_xlim()[1])
