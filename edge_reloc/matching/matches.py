"""What matchers share: which keypoints may meet which candidates, and the answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..bundle.points import PointMap
from ..structs import Candidates, Correspondences, Features

LOWEST = -2.0  # no similarity is as low
ROUNDING = 1e-5  # of a similarity: what rounding may take off one that decides something


def decision_threshold(min_similarity: float, max_ratio: float) -> float:
    """Similarity below which nothing is decided, neither a match nor its ratio test.

    A second best spoils the match of a best one s when (1 - s) > max_ratio^2 (1 - second);
    the least s that matches at all is min_similarity.
    """
    least = min_similarity
    if max_ratio < 1.0:
        farthest = (1.0 - least) / max(max_ratio**2, 1e-300)  # a square may round to 0
        least = max(min(least, 1.0 - farthest), LOWEST)
    return least - ROUNDING


def one_group(features: Features, candidates: Candidates) -> bool:
    """Whether every keypoint may match every candidate; there is one of each at least."""
    groups = candidates.group[: candidates.n]
    first = groups[0]
    return bool((groups == first).all() and (candidates.query_group[: features.n] == first).all())


def write_matches(
    points: PointMap,
    features: Features,
    candidates: Candidates,
    rows: NDArray[np.intp],
    columns: NDArray[np.integer],
    similarity: NDArray[np.float32],
    out: Correspondences,
) -> None:
    """Keypoints `rows` matched with candidates `columns`, all (M,), the most similar first."""
    order = np.argsort(-similarity, kind="stable")[: out.capacity]
    rows, columns = rows[order], columns[order]
    m = out.n = len(rows)
    point_id = candidates.point_id[columns]
    out.xy_px[:m] = features.xy_px[rows]
    out.xyz_world[:m] = points.xyz[point_id]
    out.weight[:m] = similarity[order]
    out.keypoint[:m] = rows
    out.point_id[:m] = point_id
