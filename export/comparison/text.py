"""A parity report as lines for people."""

from __future__ import annotations

from typing import Any


def to_text(report: dict[str, Any]) -> str:
    """Poses first, then each network's outputs and most expensive layers."""
    lines = [
        f"{report['map']}: {report['frames']} frames of {report['source']}, "
        f"against {report['reference']}"
    ]
    unit = "mm" if report["metric"] else "units/1000"
    header = ["method", "form", "localised", "lost", f"shift p50/p95/max {unit}"]
    header += ["rotation p50/p95°"]
    header += ["inliers", "keypoints", "cosine p1", "candidates"]
    table = [header, *(_row(row) for row in report["poses"])]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    for line in table:
        cells = [
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    for row in report["poses"]:
        if row["form"] in ("float16", "tensorrt"):
            verdict = "; ".join(row["broken_limits"]) or "within the limits"
            lines.append(f"  {row['method']}, {row['form']}: {verdict}")
    for network in report["networks"]:
        lines += _network(network)
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> list[str]:
    shift = "/".join(_number(value, 1e3) for value in row["shift"])
    rotation = "/".join(_number(value, 1.0, 4) for value in row["rotation_deg"][:2])
    return [
        row["method"],
        row["form"],
        f"{row['ok']} of {row['reference_ok']}",
        str(len(row["lost"])),
        shift,
        rotation,
        "-" if row["inliers"] is None else f"{row['inliers']:+.1%}",
        f"{row['repeated']:.2%}",
        _number(row["cosine"][0], 1.0, 5),
        f"{row['overlap']:.2%}",
    ]


def _number(value: float | None, scale: float, digits: int = 2) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def _network(network: dict[str, Any]) -> list[str]:
    lines = [network["network"]]
    for form, outputs in network["outputs"].items():
        errors = ", ".join(
            f"{e['output']} {e['rms']:.2g} (largest {e['largest']:.2g}) of {e['size']:.3g}"
            for e in outputs
        )
        lines.append(f"  {form}: RMS error {errors}")
    if network["layers"]:
        dearest = ", ".join(f"{layer} {cost:.1e}" for layer, cost in network["layers"])
        lines.append(f"  relative error {network['error']:.1e}; alone: {dearest}")
    if network["proposed_float32"]:
        lines.append(
            f"  kept in float32, {', '.join(network['proposed_float32'])} would leave "
            f"{network['error_with_proposal']:.1e}: --keep-float32 LAYER"
        )
    return lines
