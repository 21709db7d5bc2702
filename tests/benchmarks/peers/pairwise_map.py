"""What a pairwise peer keeps of a place: features of every photo, points, global descriptors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from edge_reloc.arrays import F64
from edge_reloc.files import write_atomic, writing_atomic

from .global_descriptors import GlobalDescriptors
from .pair_matchers import LocalFeatures, PairMatcher
from .posed_photos import OpenedPhoto, PosedPhoto, open_photo
from .triangulated import Pair, triangulate

SIMILAR = 20  # photos that each mapping photo is matched with, as hloc does
ARRAYS, FACTS = "map.npz", "map.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class PairwiseMap:
    """V photos, T keypoints of all of them, P points."""

    features: list[LocalFeatures]  #: V
    point_id: list[NDArray[np.int32]]  #: V times (N,), -1 for none
    xyz_world: F64  #: (P,3)
    embedding: NDArray[np.float32]  #: (V,E)
    nbytes: int  #: of all arrays
    mapping_s: float


def make_map(
    folder: Path,
    images: Path,
    photos: list[PosedPhoto],
    matcher: PairMatcher,
    embedder: GlobalDescriptors,
    threads: int,
) -> None:
    """Write it. What an interrupted run left of features and matches is taken up again."""
    folder.mkdir(parents=True, exist_ok=True)
    store = _Store(folder)
    features, embedding = _extract(store, images, photos, matcher, embedder)
    matches = _match(store, features, embedding, matcher)
    started = time.monotonic()
    poses = [photo.cam_from_world for photo in photos]
    structure = triangulate(features, poses, matches, folder / "model", threads)
    seconds = store.seconds + time.monotonic() - started
    arrays = {
        "xy_px": np.concatenate([one.xy_px for one in features]),
        "descriptor": np.concatenate([one.descriptor for one in features]),
        "point_id": np.concatenate(structure.point_id),
        "start": np.cumsum([0, *(len(one.xy_px) for one in features)]),
        "xyz_world": structure.xyz_world,
        "embedding": embedding.astype(embedder.dtype),
    }
    with writing_atomic(folder / ARRAYS) as stream:
        np.savez(stream, **arrays)
    facts = {
        "nbytes": sum(array.nbytes for array in arrays.values()),
        "mapping_s": round(seconds, 3),
        "cameras": [_camera_facts(one.camera) for one in features],
    }
    write_atomic(folder / FACTS, json.dumps(facts) + "\n")
    store.clear()


class _Store:
    """Arrays in files of a folder, and the seconds that they took when they were made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []
        self.seconds = 0.0

    def get(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self._folder / f"{name}.npz"
        if not path.exists():
            started = time.monotonic()
            arrays = make()
            with writing_atomic(path) as stream:
                np.savez(stream, seconds=time.monotonic() - started, **arrays)
        self._files.append(path)
        with np.load(path) as stored:
            found = dict(stored)
        self.seconds += float(found.pop("seconds"))
        return found

    def clear(self) -> None:
        """What was kept for going on is not needed any more."""
        for path in self._files:
            path.unlink()


def _extract(
    store: _Store,
    images: Path,
    photos: list[PosedPhoto],
    matcher: PairMatcher,
    embedder: GlobalDescriptors,
) -> tuple[list[LocalFeatures], NDArray[np.float32]]:
    """Features of V photos and their embeddings (V,E)."""

    def of(opened: OpenedPhoto) -> dict[str, Any]:
        one = matcher.extract(opened.image_bgr, opened.colmap_camera())
        vector = embedder.of(opened.image_bgr, opened.camera, opened.upright_turns)
        return {"xy_px": one.xy_px, "descriptor": one.descriptor, "embedding": vector}

    features, embedding = [], []
    for number, photo in enumerate(photos):
        opened = open_photo(images / photo.name, photo.camera)
        kept = store.get(f"features_{number:05d}", partial(of, opened))
        embedding.append(kept.pop("embedding"))
        features.append(LocalFeatures(camera=opened.colmap_camera(), **kept))
        print(f"features {number + 1} of {len(photos)}", flush=True)
    return features, np.array(embedding)


def _match(
    store: _Store,
    features: list[LocalFeatures],
    embedding: NDArray[np.float32],
    matcher: PairMatcher,
) -> dict[Pair, NDArray[np.int64]]:
    """Rows of the pairs of similar photos."""

    def of(i: int, others: list[int]) -> dict[str, Any]:
        return {str(j): matcher.match(features[i], features[j]) for j in others}

    found: dict[Pair, NDArray[np.int64]] = {}
    for i, others in pairs_by_similarity(embedding).items():
        kept = store.get(f"matches_{i:05d}", partial(of, i, others))
        found.update({(i, int(j)): rows for j, rows in kept.items()})
        print(f"matches of photo {i + 1} of {len(features)}", flush=True)
    return found


def _camera_facts(camera: Any) -> dict[str, Any]:
    values = camera.todict()
    return {
        "model": values["model"].name,
        "width": values["width"],
        "height": values["height"],
        "params": list(values["params"]),
    }


def pairs_by_similarity(embedding: NDArray[np.float32]) -> dict[int, list[int]]:
    """Each photo with the SIMILAR nearest others, every pair once, by the lower number."""
    similarity = embedding @ embedding.T
    np.fill_diagonal(similarity, -np.inf)
    pairs = set()
    for i, row in enumerate(similarity):
        for j in np.argsort(-row, kind="stable")[: min(SIMILAR, len(row) - 1)].tolist():
            pairs.add((min(i, j), max(i, j)))
    found: dict[int, list[int]] = {}
    for i, j in sorted(pairs):
        found.setdefault(i, []).append(j)
    return found


def read_map(folder: Path) -> PairwiseMap:
    """All of it in memory: hloc reads features of a pair from disk, which takes longer."""
    facts = json.loads((folder / FACTS).read_text())
    with np.load(folder / ARRAYS) as arrays:
        stored = dict(arrays)
    start = stored["start"]
    parts = [slice(a, b) for a, b in pairwise(start)]
    features = [
        LocalFeatures(
            xy_px=stored["xy_px"][part],
            descriptor=stored["descriptor"][part],
            camera=pycolmap.Camera(**camera),
        )
        for part, camera in zip(parts, facts["cameras"], strict=True)
    ]
    return PairwiseMap(
        features=features,
        point_id=[stored["point_id"][part] for part in parts],
        xyz_world=stored["xyz_world"],
        embedding=stored["embedding"].astype(np.float32),
        nbytes=facts["nbytes"],
        mapping_s=facts["mapping_s"],
    )


def is_made(folder: Path) -> bool:
    """Whether a map was written to its end."""
    return (folder / FACTS).is_file()
