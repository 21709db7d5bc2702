"""How far two runs over the same frames differ, frame by frame and in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pykdtree.kdtree import KDTree

from edge_reloc.geometry.rigid import pose_error
from edge_reloc.structs import Status

from .frames import FrameResult

SAME_PX = 0.5  # two keypoints within this are one
MAX_SHIFT_OF_DEPTH = 5e-4  # allowed median change: 1 mm in a room seen from 2 m
MAX_ROTATION_DEG = 0.02
MIN_OVERLAP = 0.99


@dataclass(frozen=True, kw_only=True)
class Change:
    """One form of the networks against the reference, over all frames.

    shift: (p50, p95, max) of the camera's displacement in map units, over frames
    that both localise; rotation_deg: likewise; depth: median distance to the scene.
    inliers: median of the change, as a share. repeated: mean share of the
    reference's keypoints found within SAME_PX; cosine: (p1, p50) of their
    descriptors. overlap: mean share of candidates in common.
    """

    frames: int
    ok: int
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    shift: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    depth: float
    inliers: float
    repeated: float
    cosine: tuple[float, float]
    overlap: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary; nan and infinity as null."""
        values = asdict(self)
        return {key: _plain(value) for key, value in values.items()}

    def broken_limits(self) -> list[str]:
        """What is not as good as float16 must be, in words; empty when all is."""
        limit = MAX_SHIFT_OF_DEPTH * self.depth
        broken = []
        if not self.shift[0] <= limit:
            broken.append(f"median shift {self.shift[0]:.2g} over {limit:.2g} map units")
        if not self.rotation_deg[0] <= MAX_ROTATION_DEG:
            broken.append(f"median rotation {self.rotation_deg[0]:.3f}° over {MAX_ROTATION_DEG}°")
        if self.lost:
            broken.append(f"{len(self.lost)} frames lost ({', '.join(self.lost[:3])})")
        if not self.overlap >= MIN_OVERLAP:
            broken.append(f"candidate overlap {self.overlap:.2%} under {MIN_OVERLAP:.0%}")
        return broken


def compare(reference: Sequence[FrameResult], other: Sequence[FrameResult]) -> Change:
    """Change from `reference` to `other`, frames in the same order."""
    shift, rotation, inliers, repeated, overlap = [], [], [], [], []
    cosine: list[np.ndarray] = []
    lost, gained = [], []
    for a, b in zip(reference, other, strict=True):
        was, is_now = a.status is Status.OK, b.status is Status.OK
        if was and not is_now:
            lost.append(a.name)
        if is_now and not was:
            gained.append(a.name)
        if a.cam_from_world is not None and b.cam_from_world is not None:
            moved, turned = pose_error(b.cam_from_world, a.cam_from_world)
            shift.append(moved)
            rotation.append(turned)
            inliers.append((b.inliers - a.inliers) / a.inliers)
        share, cosines = _keypoints(a, b)
        repeated.append(share)
        cosine.append(cosines)
        most = max(len(a.point_id), len(b.point_id))
        common = len(np.intersect1d(a.point_id, b.point_id, assume_unique=True))
        overlap.append(common / most if most else 1.0)
    joined = np.concatenate(cosine) if cosine else np.zeros(0)
    depths = [a.depth for a in reference if np.isfinite(a.depth)]
    low, middle = np.percentile(joined, [1, 50]) if len(joined) else (np.nan, np.nan)
    return Change(
        frames=len(reference),
        ok=sum(b.status is Status.OK for b in other),
        lost=tuple(lost),
        gained=tuple(gained),
        shift=_spread(shift),
        rotation_deg=_spread(rotation),
        depth=float(np.median(depths)) if depths else float("nan"),
        inliers=float(np.median(inliers)) if inliers else float("nan"),
        repeated=float(np.mean(repeated)),
        cosine=(float(low), float(middle)),
        overlap=float(np.mean(overlap)),
    )


def _keypoints(a: FrameResult, b: FrameResult) -> tuple[float, np.ndarray]:
    if len(a.xy_px) == 0 or len(b.xy_px) == 0:
        return float(len(a.xy_px) == len(b.xy_px)), np.zeros(0)
    # SIFT puts several keypoints on one spot: the best of four neighbours counts.
    distance, index = KDTree(b.xy_px).query(a.xy_px, k=min(4, len(b.xy_px)))
    distance, index = distance.reshape(len(a.xy_px), -1), index.reshape(len(a.xy_px), -1)
    near = distance <= SAME_PX
    same = near.any(axis=1)
    first, second = _unit(a.descriptor[same]), _unit(b.descriptor)
    cosine = np.einsum("nd,nkd->nk", first, second[np.where(near, index, 0)[same]])
    return float(same.mean()), np.where(near[same], cosine, -1.0).max(axis=1, initial=-1.0)


def _unit(descriptor: np.ndarray) -> np.ndarray:
    values = descriptor.astype(np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _spread(values: list[float]) -> tuple[float, float, float]:
    if not values:
        return (float("nan"),) * 3
    p50, p95 = np.percentile(values, [50, 95])
    return float(p50), float(p95), float(max(values))


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if not isinstance(value, float) or np.isfinite(value) else None
