"""Descriptors in whole numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantise(descriptor: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """Descriptors (P,D) as int8, and what to multiply them with to have them back.

    One scale for the map, so that products of descriptors can be taken in whole numbers.
    """
    scale = max(float(np.abs(descriptor).max(initial=0.0)) / 127.0, 1e-6)
    return in_steps(descriptor, scale), scale


def in_steps(descriptor: NDArray[np.float32], scale: float) -> NDArray[np.int8]:
    """Descriptors (P,D) as int8 at a map's scale; what is larger than any of its own is cut."""
    return np.asarray(np.clip(np.rint(descriptor / scale), -127, 127), np.int8)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at unit length."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
