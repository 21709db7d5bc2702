"""Quarter turns that give all photos one heading.

Learned features are not made for rotation in the image plane: two strips
flown in opposite directions do not match. Turning the photos first does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np

from edge_reloc.arrays import F64, I64

from ..photos.features import FeatureStore
from .matching import match_descriptors
from .model import View

log = logging.getLogger(__name__)

ENOUGH_INLIERS = 60  # two neighbours that match this well need no turn
CLEARLY_BETTER = 2.0
LOOK_BACK = 4  # photos already turned that a photo is compared with
EPIPOLAR_PX = 3.0


def turns_from_poses(views: Sequence[View]) -> dict[str, int]:
    """Counter-clockwise quarter turns by photo name, from known poses.

    The reference is the up direction that leaves most photos turned as the views say, so
    photos that are upright relative to each other, by EXIF too, stay as they are.
    """
    if not views:
        return {}
    rotation = np.array([view.cam_from_world[:3, :3] for view in views])
    before = np.array([view.quarter_turns for view in views]) % 4
    right, down = rotation[:, 0], rotation[:, 1]
    up = np.stack([-down, right, down, -right])[before, np.arange(len(views))]
    seen = np.einsum("vij,rj->rvi", rotation[:, :2], up)  # each up direction in each photo
    turns = _quarter_turns(seen[..., 0], seen[..., 1])
    best = turns[int(np.argmax((turns == before).sum(axis=1)))]
    return {view.name: int(k) for view, k in zip(views, best, strict=True)}


def _quarter_turns(x: F64, y: F64) -> I64:
    """Turns that bring the image direction (x right, y down) to the top.

    np.rot90 brings the right edge to the top: up that points right needs one.
    """
    return np.round(np.arctan2(x, -y) / (np.pi / 2)).astype(np.int64) % 4


def turns_from_matches(store: FeatureStore, names: Sequence[str]) -> dict[str, int]:
    """Quarter turns by photo name, from photo to photo in capture order.

    Turns are counted from those of the store, which EXIF gave. A photo keeps its
    predecessor's turn while it matches that, or one of the last few photos, well. Where it
    does not, all four turns are tried against these, and another turn is taken only when it is
    clearly better: that extracts the photo's features three times more.
    """
    turns: dict[str, int] = {}
    upright = store.turns
    for place, name in enumerate(names):
        recent = list(names[max(0, place - LOOK_BACK) : place])[::-1]
        if not recent:
            turns[name] = upright.get(name, 0)
            continue
        same = (upright.get(name, 0) + turns[recent[0]] - upright.get(recent[0], 0)) % 4
        if any(
            _agreement(store, name, same, other, turns[other]) >= ENOUGH_INLIERS for other in recent
        ):
            turns[name] = same
            continue
        scores = [
            max(_agreement(store, name, k, other, turns[other]) for other in recent)
            for k in range(4)
        ]
        best = int(np.argmax(scores))
        clear = scores[best] >= max(ENOUGH_INLIERS / 2, CLEARLY_BETTER * scores[same])
        turns[name] = best if clear else same
    return turns


def _agreement(store: FeatureStore, name: str, k: int, other: str, k_other: int) -> int:
    """Matches of two turned photos that fit one epipolar geometry."""
    first, second = store.get_turned(name, k), store.get_turned(other, k_other)
    rows, _ = match_descriptors(
        first.descriptor.astype(np.float32),
        second.descriptor.astype(np.float32),
        min_similarity=store.spec.similarity_of_pairs,
        max_ratio=1.0,
    )
    if len(rows) < 16:
        return 0
    cv2.setRNGSeed(0)
    pixels = first.xy_px[rows[:, 0]], second.xy_px[rows[:, 1]]
    try:
        _, mask = cv2.findFundamentalMat(*pixels, cv2.USAC_MAGSAC, EPIPOLAR_PX, 0.999, 2000)
    except cv2.error:  # OpenCV 4.14, where no sample gives a model
        return 0
    return 0 if mask is None else int(mask.sum())
