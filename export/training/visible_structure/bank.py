"""What the heads learn from: embeddings of mapping photos and what they see.

A photo gives several entries: itself, and random parts of it with random
keypoints missing, embedded again. A part sees only the points inside it, so
the heads learn views that no photo shows. Where a network of its own embeds
photos, they are whole, as published: a part would cost as much as a photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F32, I32, I64, Bool
from edge_reloc.bundle import MapBundle
from edge_reloc.embedding.place import VladAndPlace, open_embedding
from edge_reloc.embedding.vlad import Vlad

from ...packing.class_tokens import open_tokens
from ...packing.vocabulary import random_crop
from ...photos.features import PhotoFeatures
from ...progress import open_bar
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel


@dataclass(frozen=True, kw_only=True)
class Bank:
    """B entries; entry b saw point_id[start[b]:start[b+1]]."""

    embedding: F32  #: (B,E)
    view: I64  #: (B,): which photo
    start: I64  #: (B+1,)
    point_id: I32
    whole: Bool  #: (B,): the photo itself, the first entry of a view
    unit: bool = True  #: embeddings are of unit length

    def seen(self, entry: int) -> I32:
        """Points that an entry saw."""
        return self.point_id[self.start[entry] : self.start[entry + 1]]


def make_bank(model: SceneModel, store: PhotoStore, bundle: MapBundle, *, parts: int) -> Bank:
    """The bank of a packed model; `parts` random parts a photo, where parts can be embedded."""
    tokens = open_tokens(bundle, store)
    if tokens is None:
        return _with_parts(model, store, open_embedding(bundle), parts)
    seen = [np.unique(view.point_id) for view in model.views]
    return Bank(
        embedding=tokens.of_views(store, model.views),
        view=np.arange(len(seen)),
        start=np.cumsum([0] + [len(ids) for ids in seen]),
        point_id=np.concatenate(seen).astype(np.int32),
        whole=np.ones(len(seen), bool),
        unit=False,
    )


def _with_parts(
    model: SceneModel, store: PhotoStore, vocabulary: Vlad | VladAndPlace, parts: int
) -> Bank:
    generator = np.random.default_rng(0)
    embedding, views, seen, whole = [], [], [], []
    with open_bar(len(model.views), "embeddings", "photo") as bar:
        for index, view in enumerate(model.views):
            photo = store.get(view.name)
            descriptor = photo.descriptor.astype(np.float32)
            for part in range(parts + 1):
                rows = np.ones(len(descriptor), bool) if part == 0 else None
                inside = None
                if rows is None:
                    rows, inside = _part(photo.xy_px, generator)
                    ids = view.point_id[inside[view.keypoint]]
                else:
                    ids = view.point_id
                if part > 0 and (rows.sum() < 50 or len(ids) == 0):
                    continue
                embedding.append(vocabulary.embedding(descriptor[rows], _place(photo, inside)))
                views.append(index)
                seen.append(np.unique(ids))
                whole.append(part == 0)
            bar.update()
    return Bank(
        embedding=np.stack(embedding),
        view=np.array(views),
        start=np.cumsum([0] + [len(ids) for ids in seen]),
        point_id=np.concatenate(seen).astype(np.int32),
        whole=np.array(whole),
    )


def _place(photo: PhotoFeatures, inside: Bool | None) -> F32 | None:
    if inside is None:
        return photo.pooled_place()
    xy = photo.xy_px[inside]
    return photo.pooled_place(xy.min(axis=0), xy.max(axis=0))


def _part(xy: F32, generator: np.random.Generator) -> tuple[Bool, Bool]:
    """Rows whose descriptors count, and rows whose points are in the part."""
    rows = random_crop(xy, generator)
    if not rows.any():
        return rows, rows
    low, high = xy[rows].min(axis=0), xy[rows].max(axis=0)
    return rows, ((xy >= low) & (xy <= high)).all(axis=1)
