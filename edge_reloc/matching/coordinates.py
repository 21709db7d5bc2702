"""Matches that need no matching: each keypoint brings its own point along."""

from __future__ import annotations

import numpy as np

from ..structs import Candidates, Correspondences, Features


class CoordinateMatcher:
    """Scene coordinate regression: the three numbers of a keypoint are its place in the world."""

    def match(self, features: Features, candidates: Candidates, out: Correspondences) -> None:
        """One correspondence a keypoint, the best score first; point_id -1: of no map point."""
        m = out.n = min(features.n, out.capacity)
        out.xy_px[:m] = features.xy_px[:m]
        out.xyz_world[:m] = features.descriptor[:m]
        out.weight[:m] = features.score[:m]
        out.keypoint[:m] = np.arange(m)
        out.point_id[:m] = -1
