"""What a map keeps of its image embedding: its identity, its arrays, its network, its photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32
from edge_reloc.bundle import BundleWriter, layout
from edge_reloc.bundle.layout import network_file
from edge_reloc.embedding.place import VladAndPlace
from edge_reloc.embedding.spec import DINOV2, VLAD, VLAD_AND_PLACE, EmbeddingSpec

from ..scene.combine import PhotoStore
from ..scene.model import View
from .class_tokens import ClassTokens
from .networks import add_network
from .vocabulary import learn_embedding


@dataclass(frozen=True, kw_only=True)
class PhotoEmbedding:
    """Of one map; views (V,E) are of unit length, as image retrieval compares them."""

    spec: EmbeddingSpec
    views: F32
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    network: Path | None = None

    def add_to(self, bundle: BundleWriter) -> None:
        """Arrays, network and the photos' vectors."""
        for name, array in self.arrays.items():
            bundle.add_array(name, array)
        bundle.add_array(layout.VIEW_EMBEDDING, self.views.astype(np.float16))
        if self.network is not None and self.spec.network is not None:
            add_network(bundle, self.spec.network, self.network.read_bytes())


def of_local_features(store: PhotoStore, views: Sequence[View]) -> PhotoEmbedding:
    """Learnt from whatever the photos' features bring along: no second network."""
    photos = [store.get(view.name) for view in views]
    learnt = learn_embedding(photos)
    with_place = isinstance(learnt, VladAndPlace)
    vocabulary = learnt.vlad if isinstance(learnt, VladAndPlace) else learnt
    arrays: dict[str, NDArray[Any]] = {
        layout.VLAD_CENTROIDS: vocabulary.centroids,
        layout.VLAD_MEAN: vocabulary.mean,
        layout.VLAD_PROJECTION: vocabulary.projection.astype(np.float16),
    }
    if isinstance(learnt, VladAndPlace):
        arrays[layout.PLACE_MEAN] = learnt.place_mean
    vectors = [learnt.embedding(p.descriptor.astype(np.float32), p.pooled_place()) for p in photos]
    return PhotoEmbedding(
        spec=EmbeddingSpec(
            kind=VLAD_AND_PLACE if with_place else VLAD,
            dim=learnt.dim,
            sharpness=vocabulary.sharpness,
        ),
        views=np.stack(vectors),
        arrays=arrays,
    )


def of_class_tokens(
    tokens: ClassTokens, store: PhotoStore, views: Sequence[View]
) -> PhotoEmbedding:
    """By a network of its own, which the device runs beside the features'."""
    raw = tokens.of_views(store, views)
    length = np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
    file = network_file(tokens.network.stem)
    return PhotoEmbedding(
        spec=EmbeddingSpec(kind=DINOV2, dim=raw.shape[1], network=file),
        views=raw / length,
        network=tokens.network,
    )
