"""The VLAD vocabulary and projection of a map, learnt from its own photos."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.embedding.place import VladAndPlace
from edge_reloc.embedding.vlad import Vlad, aggregate
from edge_reloc.errors import MappingError

from ..photos.features import PhotoFeatures

F32 = NDArray[np.float32]

WORDS = 16
DIMENSIONS = 128
SAMPLE = 100_000
SHARPNESS = 20.0  # float16 descriptors move the embedding a tenth as far as with hard words
VARIANTS = 6  # views of a photo through random crops, so that PCA sees what queries vary in


def learn_vocabulary(
    photos: list[tuple[F32, F32]], *, words: int = WORDS, dimensions: int = DIMENSIONS
) -> Vlad:
    """Vocabulary from photos, each (xy_px (N,2), descriptor (N,D) float32)."""
    generator = np.random.default_rng(0)
    per_photo = max(SAMPLE // max(len(photos), 1), 16)
    sample = np.concatenate(
        [d[generator.permutation(len(d))[:per_photo]] for _, d in photos if len(d)]
        or [np.zeros((0, 1), np.float32)]
    ).astype(np.float32)
    if len(sample) < 10 * words:
        raise MappingError(f"{len(sample)} keypoints in all photos are too few for a vocabulary")
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-4)
    _, _, centroids = cv2.kmeans(sample, words, None, criteria, 2, cv2.KMEANS_PP_CENTERS)
    vectors = []
    for xy, descriptor in photos:
        vectors.append(aggregate(descriptor, centroids, SHARPNESS))
        for _ in range(VARIANTS):
            rows = random_crop(xy, generator)
            vectors.append(aggregate(descriptor[rows], centroids, SHARPNESS))
    stack = np.stack(vectors)
    mean = stack.mean(axis=0)
    _, _, axes = np.linalg.svd(stack - mean, full_matrices=False)
    return Vlad(
        centroids.astype(np.float32),
        mean.astype(np.float32),
        np.ascontiguousarray(axes[:dimensions], dtype=np.float32),
        SHARPNESS,
    )


def learn_embedding(photos: list[PhotoFeatures]) -> Vlad | VladAndPlace:
    """The image embedding of a map, of whatever its features bring along."""
    vlad = learn_vocabulary([(p.xy_px, p.descriptor.astype(np.float32)) for p in photos])
    # Everything that follows must see the projection as the bundle stores it.
    vlad.projection = vlad.projection.astype(np.float16).astype(np.float32)
    places = [place for p in photos if (place := p.pooled_place()) is not None]
    if len(places) < len(photos):
        return vlad
    return VladAndPlace(vlad, np.mean(places, axis=0).astype(np.float32))


def random_crop(xy: F32, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Rows (N,) of keypoints inside a random part of the image, thinned at random.

    The part keeps 50 to 100 % of each side; then up to half of the rows go,
    as blur and other light would take them.
    """
    low, high = xy.min(axis=0), xy.max(axis=0)
    size = (high - low) * generator.uniform(0.5, 1.0, 2)
    corner = low + (high - low - size) * generator.uniform(0, 1, 2)
    inside = ((xy >= corner) & (xy <= corner + size)).all(axis=1)
    return np.asarray(inside & (generator.random(len(xy)) > generator.uniform(0.0, 0.5)))
