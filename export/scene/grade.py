"""How far a reconstruction can be trusted: what it can be checked with, checked before it is a map.

Reprojection errors cannot tell: a world that is warped as a whole, or of two halves that hang
together by a few wrong points, has small ones. What can tell is whatever the reconstruction was
not fitted to, or only in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from edge_reloc.arrays import F64, Bool
from edge_reloc.geometry.rigid import camera_centre

from .matching import PairMatches
from .model import SceneModel
from .triangulate import TriangulationOptions, check_epipolar
from .view_geometry import ViewGeometry

GOOD, DOUBTFUL, POOR = "good", "doubtful", "poor"

BLOCK = 3  # neighbouring photos that are left out together
MIN_SEEN = 12  # points of the rest that a photo is localised by, or not at all
LEFT_OUT_PX = 4.0  # RANSAC's threshold, at 1024 px
LEFT_OUT_SHIFT, LEFT_OUT_TURN_DEG = 0.03, 1.0  # of the distance to what is seen
PAIR_MATCHES = 30  # that a pair needs to be asked; fewer agree by chance
PAIR_SHARE = 0.5  # of a pair's matches that must fit the poses
SMALL_SIDE = 3  # photos; fewer that hang loosely warp nothing

# Below the first a reconstruction is doubtful, below the second poor.
PAIRS = (0.9, 0.7)
LEFT_OUT = (0.8, 0.5)
POSITIONS = (0.8, 0.6)
BRIDGE = (40, 20)


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What was checked; None where it could not be."""

    #: share of the photos that were placed
    placed: float
    #: share of the pairs that agree on a geometry whose matches fit the poses too
    pairs: float | None
    #: share of the photos, left out in blocks, that the rest localises where they are
    left_out: float | None
    #: points by which the most loosely joined part hangs together with the rest
    bridge: int | None
    #: share of the known positions (GPS) that agree
    positions: float | None

    @property
    def reasons(self) -> list[str]:
        """What is wrong, the worst first; one sentence each."""
        return [text for _, text in sorted(self._faults(), reverse=True)]

    @property
    def verdict(self) -> str:
        """ "good", "doubtful" or "poor"."""
        worst = max((rank for rank, _ in self._faults()), default=0)
        return (GOOD, DOUBTFUL, POOR)[worst]

    def better_than(self, other: Grade) -> bool:
        """By verdict, then by how many photos it holds together rightly."""
        return self._order() > other._order()

    def to_dict(self) -> dict[str, Any]:
        """For summaries and bundles."""
        return {"verdict": self.verdict, **asdict(self), "reasons": self.reasons}

    def _order(self) -> tuple[int, float]:
        shares = [x for x in (self.pairs, self.left_out, self.positions) if x is not None]
        worst = max((rank for rank, _ in self._faults()), default=0)
        return -worst, self.placed * (min(shares) if shares else 1.0)

    def _faults(self) -> list[tuple[int, str]]:
        told = (
            (self.pairs, PAIRS, "{:.0%} of the pairs of photos that match fit the poses"),
            (
                self.left_out,
                LEFT_OUT,
                "{:.0%} of the photos are found again where they are when they are left out",
            ),
            (self.positions, POSITIONS, "{:.0%} of the known positions agree"),
        )
        faults = [
            (1 + (value < poor), f"{text.format(value)}, expected {doubtful:.0%}")
            for value, (doubtful, poor), text in told
            if value is not None and value < doubtful
        ]
        if self.bridge is not None and self.bridge < BRIDGE[0]:
            text = f"two parts hang together by {self.bridge} points, expected {BRIDGE[0]}"
            faults.append((1 + (self.bridge < BRIDGE[1]), text))
        return faults


def grade_model(model: SceneModel, photos: int, *, pairs: float | None = None) -> Grade:
    """The grade of a model of some of `photos` photos, aligned where positions are known.

    pairs: of `agreeing_pairs`.
    """
    known = model.alignment
    return Grade(
        placed=sum(1 for view in model.views if len(view.point_id)) / max(photos, 1),
        pairs=pairs,
        left_out=left_out_share(model),
        bridge=weakest_bridge(model),
        positions=None if known is None else known.inliers / known.n,
    )


def agreeing_pairs(
    matches: Sequence[PairMatches], geometry: ViewGeometry, xy_px: Sequence[np.ndarray]
) -> float | None:
    """Share of well matched verified pairs, rows of `geometry`'s views, that fit the poses."""
    matches = [match for match in matches if len(match.rows) >= PAIR_MATCHES]
    if not matches:
        return None
    fitting = check_epipolar(matches, geometry, xy_px, TriangulationOptions())
    agree = [
        len(fit.rows) >= PAIR_SHARE * len(match.rows)
        for match, fit in zip(matches, fitting, strict=True)
    ]
    return float(np.mean(agree))


def left_out_share(model: SceneModel) -> float | None:
    """Share of the photos that the points of all others localise where the model has them.

    Blocks of neighbours are left out together; the points that they see are triangulated from
    the other photos alone. None when no photo has a neighbour to spare.
    """
    if len(model.views) <= 2 * BLOCK:
        return None
    geometry = ViewGeometry(model.views)
    view = np.concatenate(
        [np.full(len(v.point_id), i, np.int32) for i, v in enumerate(model.views)]
    )
    point = np.concatenate([v.point_id for v in model.views])
    rays = geometry.rays(view, np.concatenate([v.xy_px for v in model.views]))
    towards = geometry.directions(view, rays)
    found = []
    for start in range(0, len(model.views), BLOCK):
        block = range(start, min(start + BLOCK, len(model.views)))
        inside = (view >= start) & (view < start + BLOCK)
        others = ~inside & np.isin(point, point[inside])
        xyz, known = _midpoints(
            geometry, view[others], point[others], towards[others], len(model.xyz)
        )
        for row in block:
            mine = (view == row) & known[point]
            found.append(_is_found(geometry, row, rays[mine], xyz[point[mine]]))
    return float(np.mean(found))


def _midpoints(
    geometry: ViewGeometry, view: np.ndarray, point: np.ndarray, towards: F64, count: int
) -> tuple[F64, Bool]:
    """Points nearest to their rays (P,3), and which of them two rays at an angle determine."""
    across = np.eye(3) - towards[:, :, None] * towards[:, None, :]
    normal, right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(normal, point, across)
    np.add.at(right, point, np.einsum("oij,oj->oi", across, geometry.centre[view]))
    # The smallest eigenvalue of the sum is about n sin²(half the angle between the rays).
    smallest = np.linalg.eigvalsh(normal)[:, 0]
    known = smallest > np.sin(np.radians(TriangulationOptions.min_angle_deg / 2)) ** 2
    normal[~known] = np.eye(3)
    xyz = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return np.asarray(xyz, np.float64), np.asarray(known, bool)


def _is_found(geometry: ViewGeometry, row: int, rays: F64, xyz: F64) -> bool:
    """Whether points and where a photo sees them give the photo's pose."""
    if len(rays) < MIN_SEEN:
        return False
    camera = geometry.cameras[geometry.camera_of[row]]
    limit = LEFT_OUT_PX * float(geometry.tolerance[row]) / camera.fx
    cv2.setRNGSeed(0)
    ok, turn, shift, _ = cv2.solvePnPRansac(
        xyz, rays, np.eye(3), None, reprojectionError=limit, iterationsCount=500,
        flags=cv2.SOLVEPNP_SQPNP,
    )  # fmt: skip
    if not ok:
        return False
    rotation = cv2.Rodrigues(turn)[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, shift[:, 0]
    distance = np.median(np.linalg.norm(xyz - geometry.centre[row], axis=1))
    moved = np.linalg.norm(camera_centre(pose) - geometry.centre[row])
    cosine = (np.trace(rotation @ geometry.rotation[row].T) - 1) / 2
    turned_deg = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return bool(moved < LEFT_OUT_SHIFT * distance and turned_deg < LEFT_OUT_TURN_DEG)


def weakest_bridge(model: SceneModel) -> int | None:
    """Fewest points that join some part of SMALL_SIDE photos or more to the rest.

    Parts are what falls asunder when one edge of the maximum spanning tree of shared points
    is cut. None for fewer than two such parts.
    """
    count = len(model.views)
    sees = np.zeros((count, len(model.xyz)), np.float32)
    for row, view in enumerate(model.views):
        sees[row, view.point_id] = 1.0
    shared = sees @ sees.T
    parent = _spanning_tree(shared)
    below = _below(parent)
    cuts = []
    for row in range(1, count):
        side = below[row]
        if min(side.sum(), count - side.sum()) >= SMALL_SIDE:
            cuts.append(int((sees[side].any(axis=0) & sees[~side].any(axis=0)).sum()))
    return min(cuts, default=None)


def _spanning_tree(weight: np.ndarray) -> list[int]:
    """Parent of each row in the maximum spanning tree (Prim 1957), rows in the order joined."""
    count = len(weight)
    best, parent, joined = weight[0].copy(), [0] * count, np.zeros(count, bool)
    joined[0] = True
    for _ in range(count - 1):
        row = int(np.where(joined, -1.0, best).argmax())
        joined[row] = True
        better = (weight[row] > best) & ~joined
        best[better] = weight[row][better]
        for other in np.flatnonzero(better).tolist():
            parent[other] = row
    return parent


def _below(parent: Sequence[int]) -> Bool:
    """(V,V): below[r] are the rows of the subtree of r."""
    count = len(parent)
    below = np.eye(count, dtype=bool)
    for row in range(1, count):
        at = row
        while at != 0:
            at = parent[at]
            below[at, row] = True
    return below
