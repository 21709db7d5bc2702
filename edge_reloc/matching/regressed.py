"""Matches that need no matching: each keypoint brings its own point along."""

from __future__ import annotations

import numpy as np

from ..structs import Correspondences, Features


class SceneCoordinates:
    """Scene coordinate regression: the feature network said where each keypoint lies."""

    def regress(self, features: Features, out: Correspondences) -> None:
        """One correspondence a keypoint, the best score first; point_id -1: of no map point."""
        m = out.n = min(features.n, out.capacity)
        out.xy_px[:m] = features.xy_px[:m]
        out.xyz_world[:m] = features.xyz_world[:m]
        out.weight[:m] = features.score[:m]
        out.keypoint[:m] = np.arange(m)
        out.point_id[:m] = -1
