"""How far a fitted camera may be off.

Corners of one photo err together: the board is bent, the lens model is not quite the lens, the
light falls from one side. A covariance that counts them as independent is several times too
small on real photos. So photos are what is independent here: the jackknife that leaves out one
of them at a time, each refit taken for one Gauss-Newton step (Bell and McCaffrey, Bias reduction
in standard errors for linear regression with multi-stage samples, 2002: CR3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .residuals import System, huber_weight

Array = NDArray[np.float64]


def std_by_photo(system: System) -> Array:
    """(K,) standard deviations at the minimum, from photos that err independently."""
    return leave_one_out(*system.without_poses())


def leave_one_out(blocks: Array, gradients: Array) -> Array:
    """(K,) standard deviations from the normal equations (V,K,K), (V,K) of V independent parts."""
    count, scale = len(blocks), _scale(blocks.sum(axis=0))
    blocks = blocks * np.outer(scale, scale)
    rest = blocks.sum(axis=0) - blocks
    moves = np.array(
        [
            np.linalg.pinv(information, hermitian=True) @ (gradient * scale)
            for information, gradient in zip(rest, gradients, strict=True)
        ]
    )
    return np.asarray(np.sqrt((moves**2).sum(axis=0) * (count - 1) / count) * scale)


def std_by_corner(system: System, residual: Array) -> Array:
    """(K,) standard deviations from corners that err independently; residual (N,2) pixels."""
    blocks, _ = system.without_poses()
    information = blocks.sum(axis=0)
    freedom = residual.size - len(information) - 6 * len(blocks)
    variance = (huber_weight(residual)[:, None] * residual**2).sum() / max(freedom, 1)
    scale = _scale(information)
    covariance = np.linalg.pinv(information * np.outer(scale, scale), hermitian=True)
    return np.asarray(np.sqrt(np.maximum(np.diag(covariance) * variance, 0)) * scale)


def _scale(information: Array) -> Array:
    """(K,) that makes the diagonal 1: parameters differ by 1e6."""
    return np.asarray(1 / np.sqrt(np.maximum(np.diag(information), 1e-300)))
