"""The feature network's own image embedding, beside VLAD: no second network either.

The network says at 1/32 of the image what it sees; the generalised mean of that over the
image (Radenović et al., TPAMI 2019, with power 2) is its place vector. Photos of one place
resemble each other, so the mean of the map's photos is taken away first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..bundle.layout import PLACE_MEAN
from ..bundle.reader import MapBundle
from ..structs import Features, Frame
from .spec import VLAD_AND_PLACE
from .vlad import F32, Vlad, open_vlad


class VladAndPlace:
    """Unit vectors of E1 and of C numbers side by side, scaled to unit length together.

    place_mean (C,) float32: of the pooled place vectors of the map's photos.
    """

    def __init__(self, vlad: Vlad, place_mean: F32) -> None:
        self.vlad, self.place_mean = vlad, place_mean
        self.dim = vlad.dim + len(place_mean)

    def embed(self, frame: Frame, features: Features) -> None:
        """Fill features.embedding from the descriptors and the place vector of the frame."""
        descriptor = features.descriptor[: features.n]
        features.embedding[:] = self.embedding(descriptor, features.place)

    def embedding(self, descriptor: F32, place: F32 | None) -> F32:
        """Unit vector (E1+C,) of descriptors (N,D) and a pooled place vector (C,)."""
        assert place is not None  # of a network without one there is no such embedding
        local = self.vlad.embedding(descriptor)
        away = place - self.place_mean
        away /= max(float(np.linalg.norm(away)), 1e-12)
        return np.concatenate([local, away]) * np.float32(np.sqrt(0.5))


def pool(place: NDArray[np.floating]) -> F32:
    """Unit vector (C,) of what the network saw in a region, (C,h,w) and not negative."""
    square = np.asarray(place, np.float32).reshape(len(place), -1)
    pooled = np.sqrt(np.einsum("ij,ij->i", square, square) / max(square.shape[1], 1) + 1e-6)
    return np.asarray(pooled / np.linalg.norm(pooled), np.float32)


def open_embedding(bundle: MapBundle) -> Vlad | VladAndPlace:
    """The embedding of a bundle whose features bring it along."""
    vlad = open_vlad(bundle)
    spec = bundle.manifest.embedding
    if spec is None or spec.kind != VLAD_AND_PLACE:
        return vlad
    return VladAndPlace(vlad, np.asarray(bundle.array(PLACE_MEAN), np.float32))
