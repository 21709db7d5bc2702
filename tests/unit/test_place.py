"""The place embedding: pooling, parts of photos, and how it joins VLAD."""

from __future__ import annotations

import numpy as np

from edge_reloc.embedding.place import VladAndPlace, pool
from edge_reloc.embedding.vlad import Vlad
from edge_reloc_export.packing.vocabulary import learn_embedding
from edge_reloc_export.photos.features import PhotoFeatures

CHANNELS, DIM = 6, 8


def photo(seed: int, place: bool = True) -> PhotoFeatures:
    generator = np.random.default_rng(seed)
    descriptor = generator.normal(size=(200, DIM))
    descriptor /= np.linalg.norm(descriptor, axis=1, keepdims=True)
    maps = generator.random((CHANNELS, 4, 5)) if place else None
    return PhotoFeatures(
        xy_px=generator.uniform([0, 0], [159, 127], (200, 2)).astype(np.float32),
        score=np.ones(200, np.float32),
        descriptor=descriptor.astype(np.float16),
        width=160,
        height=128,
        place=None if maps is None else maps.astype(np.float16),
    )


def test_pooling_is_the_root_of_the_mean_square() -> None:
    place = np.random.default_rng(0).random((CHANNELS, 3, 4)).astype(np.float32)
    expected = np.sqrt((place**2).mean(axis=(1, 2)))
    np.testing.assert_allclose(pool(place), expected / np.linalg.norm(expected), atol=1e-4)


def test_a_part_is_pooled_over_its_cells_alone() -> None:
    whole = photo(1)
    assert whole.place is not None
    part = whole.pooled_place(np.array([33.0, 70.0]), np.array([95.0, 127.0]))
    np.testing.assert_array_equal(part, pool(whole.place[:, 2:4, 1:3]))
    dot = whole.pooled_place(np.array([159.0, 127.0]), np.array([159.0, 127.0]))
    np.testing.assert_array_equal(dot, pool(whole.place[:, 3:, 4:]))
    assert photo(1, place=False).pooled_place() is None


def test_vlad_and_place_count_alike_and_the_common_part_is_taken_away() -> None:
    photos = [photo(seed) for seed in range(5)]
    learnt = learn_embedding(photos)
    assert isinstance(learnt, VladAndPlace)
    vectors = [learnt.embedding(p.descriptor.astype(np.float32), p.pooled_place()) for p in photos]
    for vector in vectors:
        assert len(vector) == learnt.dim == learnt.vlad.dim + CHANNELS
        np.testing.assert_allclose(np.linalg.norm(vector[: learnt.vlad.dim]), 0.5**0.5, rtol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(vector[learnt.vlad.dim :]), 0.5**0.5, rtol=1e-3)
    places = np.stack(vectors)[:, learnt.vlad.dim :]
    off_diagonal = (places @ places.T)[~np.eye(5, dtype=bool)]
    assert off_diagonal.mean() < 0  # uncentred, photos of one place all look alike
    assert isinstance(learn_embedding([photo(s, place=False) for s in range(5)]), Vlad)
