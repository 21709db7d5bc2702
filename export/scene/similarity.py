"""A similarity that most of some positions agree on, and how surely."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_reloc.arrays import F64, Bool
from edge_reloc.bundle.manifest import Alignment
from edge_reloc.geometry.rigid import camera_centre, compose

TRIALS, TOGETHER = 1000, 100  # samples in all, and of them at once


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """target = scale * rotation @ source + translation."""

    scale: float
    rotation: F64  #: (3,3), or (2,2) in the plane
    translation: F64  #: (3,) or (2,)

    def apply(self, xyz: F64) -> F64:
        """Points (N,3) of the source frame in the target frame."""
        return np.asarray(self.scale * xyz @ self.rotation.T + self.translation)

    def of_pose(self, cam_from_source: F64) -> F64:
        """`cam_from_target` (4,4) of a camera in the source frame."""
        rotation = cam_from_source[:3, :3] @ self.rotation.T
        centre = self.apply(camera_centre(cam_from_source)[None])[0]
        return compose(rotation, -rotation @ centre)

    def after(self, first: Similarity) -> Similarity:
        """Both, `first` before this one."""
        return Similarity(
            scale=self.scale * first.scale,
            rotation=self.rotation @ first.rotation,
            translation=self.apply(first.translation[None])[0],
        )

    def inverse(self) -> Similarity:
        """From the target frame back to the source."""
        back = self.rotation.T
        scale = 1.0 / self.scale
        return Similarity(
            scale=scale, rotation=back, translation=-scale * (back @ self.translation)
        )


def similarity_of(alignment: Alignment | None) -> Similarity:
    """From the frame that a map was mapped in to its world."""
    if alignment is None:
        return Similarity(scale=1.0, rotation=np.eye(3), translation=np.zeros(3))
    return Similarity(
        scale=alignment.scale,
        rotation=np.array(alignment.rotation),
        translation=np.array(alignment.translation),
    )


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A robust similarity of N positions."""

    similarity: Similarity
    residual: F64  #: (N,), units of the target
    inlier: Bool  #: (N,): rows that agree
    scale_error: float  #: relative standard error of the scale; inf when nothing checks it
    #: standard error of the turn about the longest extent (0 in the plane)
    tilt_error_rad: float = 0.0


def umeyama(source: F64, target: F64, weight: F64 | None = None) -> Similarity:
    """Weighted least-squares similarity of points (N,3) or (N,2).

    Umeyama, PAMI 1991. In the plane the third coordinate is left out.
    """
    weight = np.ones(len(source)) if weight is None else weight
    share = weight / weight.sum()
    from_mean, to_mean = share @ source, share @ target
    a, b = source - from_mean, target - to_mean
    u, s, vt = np.linalg.svd((b * share[:, None]).T @ a)
    sign = np.ones(len(s))
    sign[-1] = np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0
    rotation = u @ np.diag(sign) @ vt
    spread = float(share @ (a * a).sum(axis=1))
    scale = float((s * sign).sum()) / max(spread, 1e-18)
    return Similarity(
        scale=scale, rotation=rotation, translation=to_mean - scale * rotation @ from_mean
    )


def _umeyama_of_many(source: F64, target: F64) -> tuple[F64, F64, F64]:
    """Scales (T,), rotations (T,d,d) and translations (T,d) of T sets of points (T,N,d)."""
    from_mean, to_mean = source.mean(axis=1), target.mean(axis=1)
    a, b = source - from_mean[:, None], target - to_mean[:, None]
    u, s, vt = np.linalg.svd(b.transpose(0, 2, 1) @ a / source.shape[1])
    sign = np.ones_like(s)
    flipped = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    sign[:, -1] = np.where(flipped == 0, 1.0, flipped)
    rotation = (u * sign[:, None]) @ vt
    spread = np.maximum((a * a).sum(axis=(1, 2)) / source.shape[1], 1e-18)
    scale = (s * sign).sum(axis=1) / spread
    moved = to_mean - scale[:, None] * np.einsum("tij,tj->ti", rotation, from_mean)
    return scale, rotation, moved


def robust_similarity(source: F64, target: F64, *, seed: int = 0) -> Fit:
    """Similarity that most positions agree on, whatever their noise.

    Least median of squares over minimal samples (Rousseeuw, JASA 1984), then
    Huber weights with the spread that the inliers show. Needs 3 positions, or
    2 in the plane.
    """
    rng = np.random.default_rng(seed)
    count, size = len(source), source.shape[1]
    best, best_median = umeyama(source, target), np.inf
    # Of few positions the median is one of the sample: take a later one.
    rank = min(count - 1, max(count // 2, size))
    for _ in range(TRIALS // TOGETHER):
        rows = np.array([rng.choice(count, size, replace=False) for _ in range(TOGETHER)])
        scale, rotation, translation = _umeyama_of_many(source[rows], target[rows])
        placed = scale[:, None, None] * source @ rotation.transpose(0, 2, 1)
        residual = np.linalg.norm(placed + translation[:, None] - target, axis=2)
        medians = np.partition(residual, rank, axis=1)[:, rank]
        medians[~((scale > 0) & np.isfinite(medians))] = np.inf
        first = int(np.argmin(medians))
        if medians[first] < best_median:
            best_median = float(medians[first])
            best = Similarity(
                scale=float(scale[first]),
                rotation=rotation[first],
                translation=translation[first],
            )
    for _ in range(20):
        residual = np.linalg.norm(best.apply(source) - target, axis=1)
        sigma = max(1.4826 * float(np.median(residual)), 1e-12)
        weight = np.minimum(1.0, 1.5 * sigma / np.maximum(residual, 1e-12))
        weight[residual > 5.0 * sigma] = 1e-9
        best = umeyama(source, target, weight)
    residual = np.linalg.norm(best.apply(source) - target, axis=1)
    inlier = residual <= 5.0 * max(1.4826 * float(np.median(residual)), 1e-9)
    # The reconstruction's own extent: that of noisy targets never looks like a line.
    placed = best.apply(source)[inlier]
    extent = np.linalg.svd(placed - placed.mean(axis=0), compute_uv=False)
    freedom = max(1, int(inlier.sum()) - size + 1)
    noise = float(np.sqrt((residual[inlier] ** 2).sum() / freedom))
    # Numbers beyond the unknowns (7, or 4 in the plane) check the fit; those of the
    # sample that chose which positions agree do not.
    checks = size * int(inlier.sum()) - (7 if size == 3 else 4)
    checks -= 0 if inlier.all() else size
    return Fit(
        similarity=best,
        residual=residual,
        inlier=inlier,
        scale_error=_of_few(checks) * max(noise, 1e-12) / max(float(np.linalg.norm(extent)), 1e-12),
        # On an exact line there is no noise, and nothing that it could be compared with.
        tilt_error_rad=max(noise, 1e-6 * float(extent[0])) / max(float(extent[1]), 1e-12)
        if size == 3
        else 0.0,
    )


def _of_few(checks: int) -> float:
    """How much wider an error is whose size few residuals tell.

    Student's t over the normal at 95 %, Cornish and Fisher's series; inf for
    none.
    """
    if checks <= 0:
        return float("inf")
    return 1.0 + 1.21 / checks + 1.44 / checks**2 + 1.3 / checks**3


def upright_fit(source: F64, target: F64, down: F64) -> Fit:
    """Similarity that keeps `down` (3,) of the source at (0, 0, -1)."""
    level = _rotation_between(down, np.array([0.0, 0.0, -1.0]))
    upright = source @ level.T
    plane = robust_similarity(upright[:, :2], target[:, :2])
    rotation = np.eye(3)
    rotation[:2, :2] = plane.similarity.rotation
    scale = plane.similarity.scale
    height = float(np.median(target[:, 2] - scale * upright[:, 2]))
    similarity = Similarity(
        scale=scale,
        rotation=rotation @ level,
        translation=np.array([*plane.similarity.translation, height]),
    )
    return replace(plane, similarity=similarity)


def _rotation_between(a: F64, b: F64) -> F64:
    """Smallest rotation taking unit a to unit b."""
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0]) if abs(a[0]) < 0.9 else np.diag([-1.0, 1.0, -1.0])
    x, y, z = axis
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1 + cosine))
