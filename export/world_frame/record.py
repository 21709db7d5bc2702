"""What a map is told of its alignment."""

from __future__ import annotations

from edge_reloc.arrays import F64
from edge_reloc.bundle.manifest import Alignment, Row

from ..scene.similarity import similarity_of
from .fit import WorldFit

MOST_KEPT = 200  # items, the worst: a manifest has a bound


def recorded(before: Alignment | None, found: WorldFit) -> Alignment:
    """From the frame in which the map was mapped to the world that was found, all in one."""
    both = found.similarity.after(similarity_of(before))
    worst = sorted(found.items, key=lambda item: -item.residual)[:MOST_KEPT]
    x, y, z = (_row(row) for row in both.rotation)
    return Alignment(
        scale=both.scale,
        rotation=(x, y, z),
        translation=_row(both.translation),
        source=found.source,
        items=len(found.items),
        residuals={item.name: float(f"{item.residual:.4g}") for item in worst},
        left_out=tuple(item.name for item in worst if item.left_out),
    )


def _row(values: F64) -> Row:
    x, y, z = values.tolist()
    return x, y, z
