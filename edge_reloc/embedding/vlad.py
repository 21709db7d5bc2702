"""VLAD: an image embedding from the local descriptors, no second network.

Jégou et al., CVPR 2010, with intra-normalisation (Arandjelović and Zisserman,
CVPR 2013), signed square root and projection to E numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..bundle.layout import VLAD_CENTROIDS, VLAD_MEAN, VLAD_PROJECTION
from ..bundle.reader import MapBundle
from ..structs import Features, Frame

F32 = NDArray[np.float32]


class Vlad:
    """Vocabulary of V words and a projection, learnt when the map was made.

    centroids (V,D), mean (V*D,), projection (E, V*D), all float32. sharpness: of the
    assignment to words, see `aggregate`.
    """

    def __init__(self, centroids: F32, mean: F32, projection: F32, sharpness: float | None) -> None:
        self.centroids, self.mean, self.projection = centroids, mean, projection
        self.sharpness = sharpness
        self.dim = len(projection)

    def embed(self, frame: Frame, features: Features) -> None:
        """Fill features.embedding from the descriptors of the frame."""
        features.embedding[:] = self.embedding(features.descriptor[: features.n])

    def embedding(self, descriptor: F32, place: F32 | None = None) -> F32:
        """Unit vector (E,) of descriptors (N,D); zeros when there are none. place: not used."""
        aggregated = aggregate(descriptor, self.centroids, self.sharpness)
        projected = self.projection @ (aggregated - self.mean)
        return np.asarray(projected / max(float(np.linalg.norm(projected)), 1e-12), np.float32)


def aggregate(descriptor: F32, centroids: F32, sharpness: float | None) -> F32:
    """VLAD vector (V*D,) float32 of descriptors (N,D), unit length.

    sharpness: a descriptor belongs to word k in the share of exp(-sharpness/2 times
    its squared distance to it), so that small errors in descriptors make small errors
    here; None gives it to the nearest word alone, where they can make large ones.
    """
    words = len(centroids)
    if len(descriptor) == 0:
        return np.zeros(centroids.size, np.float32)
    # Nearest centroid: |d - c|^2 = const - 2 d.c + |c|^2
    score = descriptor @ centroids.T
    score -= 0.5 * (centroids * centroids).sum(axis=1)
    share = np.zeros((words, len(descriptor)), np.float32)
    if sharpness is None:
        share[score.argmax(axis=1), np.arange(len(descriptor))] = 1.0
    else:
        score -= score.max(axis=1, keepdims=True)
        np.exp(sharpness * score.T, out=share)
        share /= share.sum(axis=0)
    residual = share @ descriptor - share.sum(axis=1, keepdims=True) * centroids
    residual /= np.maximum(np.linalg.norm(residual, axis=1, keepdims=True), 1e-12)
    flat = residual.ravel()
    flat = np.sign(flat) * np.sqrt(np.abs(flat))
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-12), np.float32)


def open_vlad(bundle: MapBundle) -> Vlad:
    """The vocabulary of a bundle."""
    spec = bundle.manifest.embedding
    return Vlad(
        np.asarray(bundle.array(VLAD_CENTROIDS)),
        np.asarray(bundle.array(VLAD_MEAN)),
        np.asarray(bundle.array(VLAD_PROJECTION), np.float32),
        spec.sharpness if spec else None,
    )
