"""What is known of the errors of several maps in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_reloc.bundle.manifest import CovarianceScale, Integrity, Plausibility, Spread, Usual


def worst(parts: Sequence[Integrity | None]) -> Integrity | None:
    """Nothing is claimed that would be too little for one of the parts; None: one is unknown."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        return None
    return Integrity(
        photos=sum(part.photos for part in known),
        first=_worst([part.first for part in known]),
        refined=_worst([part.refined for part in known]),
        plausibility=_together([part.plausibility for part in known]),
    )


def _together(parts: Sequence[Plausibility | None]) -> Plausibility | None:
    """What is usual in any of them."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Plausibility(
        first=_mixed([part.first for part in known]),
        refined=_mixed([part.refined for part in known]),
    )


def _mixed(parts: Sequence[Usual]) -> Usual:
    return Usual(
        explained=_mixture([part.explained for part in parts]),
        concentration=_mixture([part.concentration for part in parts]),
    )


def _mixture(spreads: Sequence[Spread]) -> Spread:
    """Mean and standard deviation of equal shares of each."""
    mean, scatter = np.array(spreads).T
    return float(mean.mean()), float(np.sqrt(np.square(scatter).mean() + mean.var()))


def _worst(scales: Sequence[CovarianceScale]) -> CovarianceScale:
    return CovarianceScale(
        factor=max(scale.factor for scale in scales),
        angle_rad=min(scale.angle_rad for scale in scales),
        per_radian=max(scale.per_radian for scale in scales),
        tail=min(scale.tail for scale in scales),
    )
