"""How well each point is known, from the photos that see it.

The covariance of triangulation (Hartley and Zisserman, 2nd ed., chapter 5): long along the mean
viewing ray, short across it, so that two numbers a point say nearly all of it. The poses of
the photos are taken for exact: what their own matches leave open of them adds half a percent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64

from ..scene.model import SceneModel
from ..scene.triangulate import sum_by
from ..scene.view_geometry import ViewGeometry

LARGEST = 6e4  # that float16 holds


def point_sigma(model: SceneModel) -> NDArray[np.float16]:
    """(P,2): standard deviations across the mean ray to the photos, and along it; map units.

    As large as the residuals of all observations say that keypoints are off by.
    """
    ids = np.concatenate([view.point_id for view in model.views])
    photo = np.repeat(np.arange(len(model.views)), [len(v.point_id) for v in model.views])
    observed = np.concatenate([view.xy_px for view in model.views]).astype(np.float64)
    geometry, count = ViewGeometry(model.views), len(model.xyz)
    view, seen = photo.astype(np.int32), model.xyz[ids]
    residual = geometry.residual(view, seen, observed)
    jacobian = geometry.jacobian(view, seen)
    normal = sum_by(ids, jacobian.transpose(0, 2, 1) @ jacobian, count)
    damping = 1e-9 * np.trace(normal, axis1=1, axis2=2) + 1e-12
    normal += damping[:, None, None] * np.eye(3)
    freedom = max(2 * len(ids) - 3 * count, 1)
    covariance = np.linalg.inv(normal) * float(np.square(residual).sum()) / freedom
    away = geometry.centre[view] - seen
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    return _axial(covariance, sum_by(ids, away, count))


def _axial(covariance: F64, direction: F64) -> NDArray[np.float16]:
    """(P,2): of covariances (P,3,3) across directions (P,3), the mean of both, and along them."""
    unit = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    along = np.einsum("pi,pij,pj->p", unit, covariance, unit)
    across = 0.5 * (np.trace(covariance, axis1=1, axis2=2) - along)
    sigma = np.sqrt(np.maximum(np.stack([across, along], axis=1), 0.0))
    return np.asarray(np.minimum(sigma, LARGEST), np.float16)
