"""A measured pose of a camera at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import F64
from ..geometry.rigid import invert, rotation_vector

JITTER = 1e-15  # keeps a covariance that is zero along an axis invertible


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Fix:
    """A pose at a time. (6,6) covariance of [rotation, translation], left perturbation."""

    t_ns: int
    #: (4,4)
    cam_from_world: F64
    #: (6,6)
    covariance: F64


def difference(cam_from_world: F64, reference: F64) -> F64:
    """(6,) delta with cam_from_world = Exp(delta) @ reference."""
    between = cam_from_world @ invert(reference)
    return np.concatenate([rotation_vector(between[:3, :3]), between[:3, 3]])


def root(covariance: F64) -> F64:
    """(6,6) lower triangle whose square is the covariance."""
    scale = np.sqrt(np.maximum(np.diag(covariance), JITTER))
    return np.asarray(
        scale[:, None] * np.linalg.cholesky(covariance / np.outer(scale, scale) + 1e-9 * np.eye(6))
    )
