"""What `stages.Embedder` promises: one unit vector a frame, always the same."""

from __future__ import annotations

import numpy as np
import pytest
from demo_stages import Demo

from edge_reloc.embedding.dinov2 import EMBEDDING, IMAGE, DinoV2Embedder
from edge_reloc.embedding.place import open_embedding
from edge_reloc.embedding.vlad import open_vlad
from edge_reloc.inference.engine import OnHost
from edge_reloc.stages import Embedder
from edge_reloc.structs import Features

UNIT = 1e-5  # float32


class MeanColours(OnHost):
    """Stands for DINOv2: the mean of every fourth row, scaled to unit length."""

    def __init__(self) -> None:
        self.inputs = {IMAGE: np.zeros((1, 3, 28, 28), np.float32)}
        self.outputs = {EMBEDDING: np.zeros(7, np.float32)}

    def run(self) -> None:
        """The output follows the input."""
        rows = self.inputs[IMAGE].mean(axis=(0, 1, 3))[::4] + 1
        self.outputs[EMBEDDING][:] = rows / np.linalg.norm(rows)

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture(scope="module", params=["vlad", "vlad+place", "dinov2"])
def case(request: pytest.FixtureRequest, demo: Demo) -> tuple[Embedder, Features]:
    """Embedder and a frame's features."""
    embedder: Embedder
    if request.param == "dinov2":
        embedder = DinoV2Embedder(MeanColours())
    else:
        embedder = (open_vlad if request.param == "vlad" else open_embedding)(demo.bundle)
    return embedder, demo.extract(embedder.dim)


def test_the_vector_is_of_unit_length_and_the_same_again(
    case: tuple[Embedder, Features], demo: Demo
) -> None:
    embedder, features = case
    embedder.embed(demo.frame, features)
    first = features.embedding.copy()
    assert first.shape == (embedder.dim,) and first.dtype == np.float32
    assert abs(float(np.linalg.norm(first)) - 1) < UNIT
    features.embedding[:] = np.nan
    embedder.embed(demo.frame, features)
    np.testing.assert_array_equal(features.embedding, first)


def test_a_frame_without_keypoints_has_finite_numbers(
    case: tuple[Embedder, Features], demo: Demo
) -> None:
    embedder, features = case
    n, features.n = features.n, 0
    try:
        embedder.embed(demo.frame, features)
    finally:
        features.n = n
    assert np.isfinite(features.embedding).all()
    assert float(np.linalg.norm(features.embedding)) < 1 + UNIT
