"""The VLAD embedding against its definition, and how firm it stands."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.embedding.vlad import Vlad, aggregate

FLOAT32_NOISE = 1e-5
FLOAT16_NOISE = 2.0**-11  # relative rounding error of a descriptor's numbers
WORDS, DIM, KEYPOINTS = 8, 32, 600


@pytest.fixture
def descriptors() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(KEYPOINTS, DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def centroids(descriptors: np.ndarray) -> np.ndarray:
    return (0.5 * descriptors[:WORDS]).copy()


def by_definition(d: np.ndarray, c: np.ndarray, sharpness: float | None) -> np.ndarray:
    squared = ((d[:, None] - c[None]) ** 2).sum(axis=2)
    if sharpness is None:
        share = (squared == squared.min(axis=1, keepdims=True)).astype(float)
    else:
        share = np.exp(-0.5 * sharpness * squared)
        share /= share.sum(axis=1, keepdims=True)
    residual = (share[:, :, None] * (d[:, None] - c[None])).sum(axis=0)
    residual /= np.linalg.norm(residual, axis=1, keepdims=True)
    flat = np.sign(residual.ravel()) * np.sqrt(np.abs(residual.ravel()))
    return flat / np.linalg.norm(flat)


@pytest.mark.parametrize("sharpness", [None, 5.0, 20.0])
def test_aggregate_is_what_the_definition_says(
    sharpness: float | None, descriptors: np.ndarray, centroids: np.ndarray
) -> None:
    found = aggregate(descriptors, centroids, sharpness)
    expected = by_definition(descriptors.astype(float), centroids.astype(float), sharpness)
    np.testing.assert_allclose(found, expected, atol=FLOAT32_NOISE)
    assert found.dtype == np.float32


def test_rounding_moves_soft_words_less(descriptors: np.ndarray, centroids: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=descriptors.shape) * FLOAT16_NOISE
    rounded = (descriptors * (1 + noise)).astype(np.float32)
    moved = {
        sharpness: 1.0
        - float(
            aggregate(descriptors, centroids, sharpness) @ aggregate(rounded, centroids, sharpness)
        )
        for sharpness in (None, 20.0)
    }
    assert moved[20.0] < 0.5 * moved[None]


def test_no_keypoints_give_zeros(centroids: np.ndarray) -> None:
    nothing = np.zeros((0, DIM), np.float32)
    assert not aggregate(nothing, centroids, 20.0).any()
    projection = np.eye(4, WORDS * DIM, dtype=np.float32)
    vlad = Vlad(centroids, np.zeros(WORDS * DIM, np.float32), projection, 20.0)
    assert not vlad.embedding(nothing).any()
