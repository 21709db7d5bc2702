"""What the heads learn from: embeddings of mapping photos and what they see.

A photo gives several entries: itself, and random parts of it with random
keypoints missing, embedded again. A part sees only the points inside it, so
the heads learn views that no photo shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F32, I32, I64, Bool
from edge_reloc.embedding.place import VladAndPlace
from edge_reloc.embedding.vlad import Vlad

from ...packing.vocabulary import random_crop
from ...photos.features import PhotoFeatures
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel

HELD_OUT_BLOCKS = 2
BLOCKS = 12


@dataclass(frozen=True, kw_only=True)
class Bank:
    """B entries: embedding (B,E) float32, view (B,) int64, seen points in CSR.

    Entry b saw point_id[start[b]:start[b+1]]. The first entry of a view is
    the whole photo: whole (B,) bool.
    """

    embedding: F32
    view: I64
    start: I64
    point_id: I32
    whole: Bool

    def seen(self, entry: int) -> I32:
        """Points that an entry saw."""
        return self.point_id[self.start[entry] : self.start[entry + 1]]


def make_bank(
    model: SceneModel,
    store: PhotoStore,
    vocabulary: Vlad | VladAndPlace,
    *,
    parts: int,
    progress: bool = True,
) -> Bank:
    """The bank of a packed model; `parts` random parts a photo."""
    from tqdm import tqdm

    generator = np.random.default_rng(0)
    embedding, views, seen, whole = [], [], [], []
    for index, view in enumerate(
        tqdm(model.views, desc="embeddings", unit="photo", disable=not progress)
    ):
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


def held_out_views(views: int) -> Bool:
    """(V,) true for views held out for tuning.

    Whole blocks of consecutive photos: single photos of a sequence have
    near copies beside them and would flatter every choice.
    """
    held_out = np.zeros(views, bool)
    if views < BLOCKS:
        held_out[views // 2] = views > 4
        return held_out
    edges = np.linspace(0, views, BLOCKS + 1).astype(int)
    for block in range(HELD_OUT_BLOCKS):
        index = (2 * block + 1) * BLOCKS // (2 * HELD_OUT_BLOCKS)
        held_out[edges[index] : edges[index + 1]] = True
    return held_out
