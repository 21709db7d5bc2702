"""The points worth keeping: those that many photos see where they see little else.

After the K-cover of Li, Snavely and Huttenlocher (Location Recognition using Prioritized
Feature Matching, ECCV 2010, section 3), spread over each photo. P points, V views.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import ConfigError

from ..scene.model import SceneModel, View

SPOT_PX = 40.0  # side of the squares of a photo that want points, in photos 640 pixels wide


def points_that_cover(model: SceneModel, share: float) -> NDArray[np.bool_]:
    """(P,): the share of the points that covers the photos best, chosen greedily.

    A point is worth 1 / (1 + n) in every photo that observed it, n being how many
    points of the same square of that photo were chosen before. So points that many
    photos found again come first, and no part of a photo goes without.
    Raises ConfigError for a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"keep: found {share}, expected above 0 and at most 1")
    points = len(model.xyz)
    start, spot, spots = _spots_of_points(model)
    chosen, taken = np.zeros(points, bool), np.zeros(spots, np.int64)

    def worth(point: int) -> float:
        return float((1.0 / (1 + taken[spot[start[point] : start[point + 1]]])).sum())

    # Worth only falls, so what leads the queue after a fresh look leads in truth.
    queue = [(-worth(point), point) for point in range(points)]
    heapq.heapify(queue)
    for _ in range(round(share * points)):
        while True:
            point = queue[0][1]
            now = -worth(point)
            if now <= queue[0][0]:
                break
            heapq.heapreplace(queue, (now, point))
        heapq.heappop(queue)
        chosen[point] = True
        taken[spot[start[point] : start[point + 1]]] += 1
    return chosen


def _spots_of_points(model: SceneModel) -> tuple[NDArray[np.intp], NDArray[np.int64], int]:
    """CSR of squares by point: start (P+1,), numbers of squares; and how many there are."""
    point_id, spot, count = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], 0
    for view in model.views:
        numbers, squares = _squares(view)
        point_id.append(view.point_id)
        spot.append(count + numbers)
        count += squares
    ids = np.concatenate(point_id)
    order = np.argsort(ids, kind="stable")
    start = np.searchsorted(ids[order], np.arange(len(model.xyz) + 1))
    return start, np.concatenate(spot)[order], count


def _squares(view: View) -> tuple[NDArray[np.int64], int]:
    """Square (K,) of each observation of a photo, and how many squares it has."""
    side = SPOT_PX * max(view.camera.width, view.camera.height) / 640
    across = 1 + int(view.camera.width / side)
    down = 1 + int(view.camera.height / side)
    column, row = np.floor((view.xy_px + 0.5) / side).astype(np.int64).T
    return np.clip(row, 0, down - 1) * across + np.clip(column, 0, across - 1), across * down
