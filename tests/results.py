"""What a localiser would have returned, for tests of those who look at it."""

from __future__ import annotations

import numpy as np

from edge_reloc.memory.arena import Arena
from edge_reloc.structs import (
    Candidates,
    Correspondences,
    Features,
    Localization,
    PoseEstimate,
    Work,
)


def localization(
    estimate: PoseEstimate,
    matches: Correspondences | None = None,
    xy_px: np.ndarray | None = None,
    label: np.ndarray | None = None,
) -> Localization:
    """The estimate with matches, and keypoints (N,2) under their numbers (N,)."""
    arena, n = Arena(), 0 if xy_px is None else len(xy_px)
    features, candidates = Features(arena, n, 0, 0), Candidates(arena, 1, n)
    features.n = n
    if xy_px is not None and label is not None:
        features.xy_px[:], candidates.query_group[:], candidates.n = xy_px, label, 1
    work = Work(features, candidates, matches or Correspondences(arena, 0))
    return Localization(estimate=estimate, _named=n, _work=work, _number=work.number)
