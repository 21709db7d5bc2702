"""What `stages.Embedder` promises: one vector a frame, always the same."""

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
    """Stands for DINOv2: the mean of every fourth row."""

    def __init__(self) -> None:
        self.inputs = {IMAGE: np.zeros((1, 3, 28, 28), np.float32)}
        self.outputs = {EMBEDDING: np.zeros(7, np.float32)}

    def run(self) -> None:
        """The output follows the input."""
        self.outputs[EMBEDDING][:] = self.inputs[IMAGE].mean(axis=(0, 1, 3))[::4] + 1

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture(params=["vlad", "vlad+place", "dinov2"])
def case(request: pytest.FixtureRequest, demo: Demo) -> tuple[Embedder, Features]:
    """Embedder and a frame's features."""
    embedder: Embedder
    if request.param == "dinov2":
        embedder = DinoV2Embedder(MeanColours())
    else:
        embedder = (open_vlad if request.param == "vlad" else open_embedding)(demo.bundle)
    return embedder, demo.extract(embedder.dim)


def test_the_vector_is_the_same_again_and_of_unit_length_unless_a_token(
    case: tuple[Embedder, Features], demo: Demo
) -> None:
    embedder, features = case
    embedder.embed(demo.frame, features)
    first = features.embedding.copy()
    assert first.shape == (embedder.dim,) and first.dtype == np.float32
    length = float(np.linalg.norm(first))
    assert length > 2 if isinstance(embedder, DinoV2Embedder) else abs(length - 1) < UNIT
    features.embedding[:] = np.nan
    embedder.embed(demo.frame, features)
    np.testing.assert_array_equal(features.embedding, first)


@pytest.mark.parametrize("n", [0, 200])
def test_rows_behind_the_last_keypoint_are_not_read(
    case: tuple[Embedder, Features], demo: Demo, n: int
) -> None:
    embedder, features = case
    whole, features.n = features.n, n
    vectors = []
    try:
        for _ in range(2):
            embedder.embed(demo.frame, features)
            vectors.append(features.embedding.copy())
            features.descriptor[n:] = np.roll(features.descriptor[n:], 1, axis=1)
    finally:
        features.n = whole
    assert np.isfinite(vectors[0]).all()
    if not isinstance(embedder, DinoV2Embedder):
        assert np.linalg.norm(vectors[0]) < 1 + UNIT
    np.testing.assert_array_equal(vectors[0], vectors[1])
