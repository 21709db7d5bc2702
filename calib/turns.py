"""Rotations: many from vectors and to vectors at once, and the one nearest to a matrix.

One by one they cost more than all else of a fit.
"""

from __future__ import annotations

import numpy as np

from edge_reloc.arrays import F64


def rotation_vectors(turns: F64) -> F64:
    """(N,3) axis times angle, radians, of rotations (N,3,3) of less than half a turn."""
    skew = turns - turns.transpose(0, 2, 1)
    sine_axis = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1) / 2
    sine = np.linalg.norm(sine_axis, axis=1)
    angle = np.arctan2(sine, (np.trace(turns, axis1=1, axis2=2) - 1) / 2)
    factor = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 1.0)
    return np.asarray(sine_axis * factor[:, None])


def rotations(vectors: F64) -> F64:
    """(N,3,3) of axes times angles (N,3)."""
    angle = np.linalg.norm(vectors, axis=1)
    safe = np.maximum(angle, 1e-12)
    k = np.zeros((len(vectors), 3, 3))
    x, y, z = (vectors / safe[:, None]).T
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -z, y, -x
    k[:, 1, 0], k[:, 2, 0], k[:, 2, 1] = z, -y, x
    sine, rest = np.sin(angle)[:, None, None], (1 - np.cos(angle))[:, None, None]
    return np.asarray(np.eye(3) + sine * k + rest * (k @ k))


def nearest_rotation(matrix: F64) -> F64:
    """(3,3) R with the largest trace of R.T @ matrix: of sums b a.T, the R of b = R a."""
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt)
