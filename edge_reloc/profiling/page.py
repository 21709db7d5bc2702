"""A profile as one HTML page that needs nothing else: tables and drawn curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ..running.budget import MIB
from .report import Profile

WIDTH, HEIGHT, MARGIN = 900, 260, 44
COLOURS = ("#2563a8", "#c2571a", "#3b8a4d", "#8a4d9e", "#a8892b", "#5a6a78")

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;
color:#1c2430}h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .9rem .15rem 0;text-align:right;
border-bottom:1px solid #e3e7ec}td:first-child,th:first-child{text-align:left}
svg{background:#fafbfc;border:1px solid #e3e7ec;max-width:100%}.note{color:#5a6a78}
.big{display:flex;gap:2.5rem;flex-wrap:wrap;margin:1rem 0}.big b{display:block;font-size:1.6rem}
"""


def to_html(profile: Profile, title: str) -> str:
    """One document with its style and drawings inside."""
    figures = profile.figures()
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=note>{profile.summary.frames} frames on {escape(_machine(profile))}</p>",
        _headline(figures),
        "<h2>Time of a frame</h2>",
        _latency_plot(profile),
        _stages(profile),
        _stage_bar(profile),
        "<h2>Memory</h2>",
        _footprint(profile),
        _memory_plot(profile),
        _growth(profile),
        "<h2>Before the first pose</h2>",
        _table(("step", "ms"), [(k, f"{v:.1f}") for k, v in profile.cold_start_ms.items()]),
        "<h2>All figures</h2>",
        _table(
            ("figure", "value"),
            [(k, "not measured" if v is None else f"{v:g}") for k, v in figures.items()],
        ),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _machine(profile: Profile) -> str:
    m = profile.machine
    return f"{m['system']}, {m['cores']} cores, Python {m['python']}"


def _headline(figures: dict[str, float | None]) -> str:
    shown = (
        ("p50_ms", "ms, half of the frames", 1.0),
        ("p99_ms", "ms, 99 of 100", 1.0),
        ("localized_share", "% localised", 100.0),
        ("peak_mb", "MB at most", 1.0),
        ("growth_bytes", "bytes growth per 1,000 frames", 1.0),
    )
    cells = []
    for name, words, factor in shown:
        value = figures.get(name)
        text = "?" if value is None else f"{value * factor:.4g}"
        cells.append(f"<div><b>{text}</b>{escape(words)}</div>")
    return f"<div class=big>{''.join(cells)}</div>"


def _stages(profile: Profile) -> str:
    rows = {**profile.summary.stages}
    if profile.summary.localize is not None:
        rows["whole frame"] = profile.summary.localize
    if profile.summary.age is not None:
        rows["age of the pose"] = profile.summary.age
    return _table(
        ("ms", "p50", "p95", "p99", "max"),
        [
            (name, *(f"{v:.1f}" for v in (s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms)))
            for name, s in rows.items()
        ],
    )


def _stage_bar(profile: Profile) -> str:
    stages = profile.summary.stages
    total = sum(s.p50_ms for s in stages.values()) or 1.0
    at, parts = 0.0, []
    for index, spread in enumerate(stages.values()):
        width = WIDTH * spread.p50_ms / total
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<rect x="{at:.1f}" y="0" width="{width:.1f}" height="26" fill="{colour}"/>')
        at += width
    names = " ".join(
        f'<span style="color:{COLOURS[k % len(COLOURS)]}">■</span> {escape(name)}'
        for k, name in enumerate(stages)
    )
    bar = f'<svg viewBox="0 0 {WIDTH} 26" width="{WIDTH}" height="26">{"".join(parts)}</svg>'
    return f"{bar}<p class=note>{names}, at their medians</p>"


def _footprint(profile: Profile) -> str:
    memory = profile.summary.memory
    rows = [(kind, f"{n / MIB:.2f}") for kind, n in profile.footprint.by_kind().items()]
    rows.append(("planned in all", f"{profile.footprint.nbytes / MIB:.2f}"))
    if memory.peak_bytes is not None:
        used = (memory.peak_bytes - profile.libraries_bytes) / MIB
        rows.append(("used at most, above the libraries", f"{used:.2f}"))
    rows.append(("libraries", f"{profile.libraries_bytes / MIB:.2f}"))
    same = (
        "as planned" if profile.arena_bytes == profile.footprint.arena_bytes else "NOT as planned"
    )
    return (
        _table(("MiB", ""), rows) + f"<p class=note>Arena: {profile.arena_bytes} bytes, {same}.</p>"
    )


def _growth(profile: Profile) -> str:
    lines = []
    for name, growth in (("heap", profile.heap_growth), ("resident", profile.rss_growth)):
        lines.append(f"growth of the {name} memory: {growth.to_text()}")
    if profile.allocations is not None:
        lines.append(f"Python and numpy: {profile.allocations.to_text()}")
    lines.append(f"{profile.page_faults:.1f} page faults a frame")
    return "".join(f"<p class=note>{escape(line)}.</p>" for line in lines)


def _latency_plot(profile: Profile) -> str:
    frames, ms = zip(*profile.latency_ms, strict=True) if profile.latency_ms else ((), ())
    return _plot([("ms a frame", frames, ms)])


def _memory_plot(profile: Profile) -> str:
    curves = []
    for name, label in (
        ("rss_bytes", "resident"),
        ("pss_bytes", "proportional"),
        ("heap_bytes", "heap"),
    ):
        points = [(s.frame, getattr(s, name)) for s in profile.samples]
        known = [(x, y / 1e6) for x, y in points if y is not None]
        if known:
            curves.append((f"{label}, MB", [x for x, _ in known], [y for _, y in known]))
    return _plot(curves)


def _plot(curves: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> str:
    xs = [x for _, curve, _ in curves for x in curve]
    ys = [y for _, _, curve in curves for y in curve]
    if not xs:
        return "<p class=note>Too few frames to draw.</p>"
    left, right = min(xs), max(max(xs), min(xs) + 1)
    low, high = 0.0, max(ys) * 1.05 or 1.0
    wide, tall = WIDTH - MARGIN - 12, HEIGHT - 62

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            MARGIN + wide * (x - left) / (right - left),
            12 + tall * (1 - (y - low) / (high - low)),
        )

    parts = []
    for value in _ticks(low, high):
        _, y = place(left, value)
        parts.append(
            f'<line x1="{MARGIN}" x2="{MARGIN + wide}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="#e3e7ec"/><text x="{MARGIN - 6}" y="{y + 4:.1f}" font-size="11" '
            f'text-anchor="end">{value:g}</text>'
        )
    for value in _ticks(left, right):
        x, _ = place(value, low)
        parts.append(
            f'<text x="{x:.1f}" y="{tall + 28}" font-size="11" text-anchor="middle">'
            f"{value:g}</text>"
        )
    for index, (name, x_values, y_values) in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(x_values, y_values, strict=True)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
            f'<text x="{MARGIN + 150 * index}" y="{HEIGHT - 10}" font-size="12" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    parts.append(
        f'<text x="{MARGIN + wide}" y="{HEIGHT - 10}" font-size="12" text-anchor="end" '
        f'fill="#5a6a78">frame</text>'
    )
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f"<svg {size}>{''.join(parts)}</svg>"


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers between two."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    for finer in (2.0, 2.5, 2.0):
        if (high - low) / step < 4:
            step /= finer
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
