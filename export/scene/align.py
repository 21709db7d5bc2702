"""Scale and orientation of a reconstruction from known camera positions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge_reloc.arrays import F64, Bool
from edge_reloc.geometry.rigid import camera_centre, compose

from .gravity import level_axis
from .model import SceneModel

log = logging.getLogger(__name__)


MIN_POSITIONS = 3
MAX_TILT_RAD = 0.05  # standard error from which upright photos tell the tilt better
MAX_SCALE_ERROR = 0.05  # relative standard error that still counts as metric
TRIALS = 1000


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """target = scale * rotation @ source + translation."""

    scale: float
    rotation: F64  #: (3,3), or (2,2) in the plane
    translation: F64  #: (3,) or (2,)

    def apply(self, xyz: F64) -> F64:
        """Points (N,3) of the source frame in the target frame."""
        return np.asarray(self.scale * xyz @ self.rotation.T + self.translation)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A robust similarity of N positions."""

    similarity: Similarity
    residual: F64  #: (N,), units of the target
    inlier: Bool  #: (N,): rows that agree
    scale_error: float  #: relative standard error of the scale
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


def robust_similarity(source: F64, target: F64, *, seed: int = 0) -> Fit:
    """Similarity that most positions agree on, whatever their noise.

    Least median of squares over minimal samples (Rousseeuw, JASA 1984), then
    Huber weights with the spread that the inliers show. Needs 3 positions, or
    2 in the plane.
    """
    rng = np.random.default_rng(seed)
    count, size = len(source), source.shape[1]
    best, best_median = umeyama(source, target), np.inf
    for _ in range(TRIALS):
        rows = rng.choice(count, size, replace=False)
        trial = umeyama(source[rows], target[rows])
        if not 0 < trial.scale < np.inf:
            continue
        residual = np.linalg.norm(trial.apply(source) - target, axis=1)
        # Of few positions the median is one of the sample: take a later one.
        rank = min(count - 1, max(count // 2, size))
        median = float(np.partition(residual, rank)[rank])
        if median < best_median:
            best, best_median = trial, median
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
    return Fit(
        similarity=best,
        residual=residual,
        inlier=inlier,
        scale_error=noise / max(float(np.linalg.norm(extent)), 1e-12),
        tilt_error_rad=noise / max(float(extent[1]), 1e-12) if size == 3 else 0.0,
    )


def align_to_positions(
    model: SceneModel, positions: Mapping[str, F64], *, source: str
) -> SceneModel:
    """The model in the frame of known camera positions (3,) metres, z up.

    Marked metric only when the scale is known to MAX_SCALE_ERROR; otherwise
    the model comes back as it was, with a note that says why.
    """
    views = [view for view in model.views if view.name in positions]
    if len(views) < MIN_POSITIONS:
        return _unaligned(
            model, f"{len(views)} photos have a position from {source}, expected 3 or more"
        )
    centres = np.array([camera_centre(view.cam_from_world) for view in views])
    target = np.array([positions[view.name] for view in views])
    if np.ptp(target, axis=0).max() < 1e-6:
        return _unaligned(model, f"all positions from {source} are the same place")
    fit = robust_similarity(centres, target)
    down = None
    if fit.tilt_error_rad > MAX_TILT_RAD:
        # Along a line nothing measures the roll: take it from how photos are held.
        down = level_axis(model.views)
        if down is None:
            return _unaligned(
                model, f"positions from {source} lie on a line and the photos show no horizon"
            )
        fit = _upright_fit(centres, target, down)
    residual = float(np.median(fit.residual))
    told = (
        f"aligned to {len(views)} positions from {source}: median residual {residual:.3g} m, "
        f"{int(fit.inlier.sum())} agree, scale known to {100 * fit.scale_error:.2g} %"
    )
    if fit.scale_error > MAX_SCALE_ERROR or int(fit.inlier.sum()) < MIN_POSITIONS:
        return _unaligned(
            model,
            f"positions from {source} do not fit the reconstruction: {told}; "
            f"expected {100 * MAX_SCALE_ERROR:.0f} % or better",
        )
    aligned = transform_model(model, fit.similarity)
    notes = [told]
    if down is not None:
        notes.append("positions are too close to a line to tell the tilt: photos assumed upright")
    for note in notes:
        log.info("%s", note)
    return replace(aligned, metric=True, notes=[*model.notes, *notes])


def transform_model(model: SceneModel, similarity: Similarity) -> SceneModel:
    """The model in the target frame; gravity turns along."""
    views = []
    for view in model.views:
        rotation = view.cam_from_world[:3, :3] @ similarity.rotation.T
        centre = similarity.apply(camera_centre(view.cam_from_world)[None])[0]
        views.append(replace(view, cam_from_world=compose(rotation, -rotation @ centre)))
    gravity = None if model.gravity is None else similarity.rotation @ model.gravity
    return replace(model, views=views, xyz=similarity.apply(model.xyz), gravity=gravity)


def _upright_fit(source: F64, target: F64, down: F64) -> Fit:
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


def _unaligned(model: SceneModel, reason: str) -> SceneModel:
    log.warning("not metric: %s", reason)
    return replace(model, metric=False, notes=[*model.notes, f"not metric: {reason}"])
