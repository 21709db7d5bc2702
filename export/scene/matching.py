"""Photo-to-photo matches: mutual nearest neighbours, cached and resumable."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32, I32, I64
from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic

from ..cluster.units import Unit, finish
from ..kept_files import DamagedError, check, read_arrays
from ..photos.features import FeatureStore
from ..progress import open_bar

SIFT_RATIO = 0.85  # second best over best distance; the 2D-3D test is set elsewhere
PAIRS_PER_CHUNK = 256  # an interruption loses at most one chunk, a few seconds

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PairMatches:
    """Matches of two photos."""

    pair: Pair  #: indices into the list of names
    rows: I32  #: (K,2): keypoint rows in the first and second photo
    similarity: F32  #: (K,): cosine of the descriptors


def match_descriptors(
    first: F32,
    second: F32,
    *,
    min_similarity: float,
    max_ratio: float,
) -> tuple[I32, F32]:
    """Mutual nearest neighbours of unit descriptors (N,D) and (M,D).

    Returns rows (K,2) int32 and similarity (K,) float32. max_ratio bounds
    best over second-best distance (Lowe 2004), seen from both sides; 1
    switches it off.
    """
    nothing = np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
    if min(len(first), len(second)) < 2:
        return nothing
    similarity = first @ second.T
    row = np.arange(len(first))
    best = similarity.argmax(axis=1)
    value = similarity[row, best]
    # argmax over columns is slow in numpy; a mutual match is the column's maximum.
    keep = (value >= similarity.max(axis=0)[best]) & (value >= min_similarity)
    if max_ratio < 1.0:
        similarity[row, best] = -1.0
        distance = np.maximum(2.0 - 2.0 * value, 0.0)
        runner_up = np.maximum(similarity.max(axis=1), similarity.max(axis=0)[best])
        keep &= distance < max_ratio**2 * (2.0 - 2.0 * runner_up)
    rows = np.stack([row[keep], best[keep]], axis=1).astype(np.int32)
    _, unique = np.unique(rows[:, 1], return_index=True)  # ties may share a column
    unique.sort()
    return rows[unique], value[keep][unique]


def match_pairs(
    store: FeatureStore,
    names: Sequence[str],
    pairs: Sequence[Pair],
    *,
    progress: bool = True,
) -> list[PairMatches]:
    """Match every pair; finished chunks are kept in the work folder.

    Thresholds follow the feature: sift by ratio, networks by min_similarity. The store's
    workers, where it has any, match the chunks that are missing.
    """
    pairs = sorted(pairs)
    if store.workers is not None:
        match_missing(store, names, pairs, progress=progress)
        progress = False
    chunks = chunks_of(store, names, pairs)
    found: list[PairMatches] = []
    with open_bar(len(pairs), "matching", "pair", shown=progress) as bar:
        for chunk in chunks:
            found += chunk.matches(store, names)
            bar.update(len(chunk.pairs))
    return found


def match_missing(
    store: FeatureStore, names: Sequence[str], pairs: Sequence[Pair], *, progress: bool = True
) -> None:
    """Have the store's workers match what is missing of sorted pairs; nothing is read here."""
    assert store.workers is not None
    units = [
        Unit(
            run=match_chunk,
            arguments=(store, [(names[i], names[j]) for i, j in chunk.pairs], chunk.path),
            result=chunk.path,
            size=len(chunk.pairs),
        )
        for chunk in chunks_of(store, names, pairs)
    ]
    finish(store.workers, units, "matching", "pair", progress=progress)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some pairs, and the file of their matches."""

    pairs: Sequence[Pair]  #: indices into the list of names
    path: Path  #: by the hash of features and thresholds

    def matches(self, store: FeatureStore, names: Sequence[str]) -> list[PairMatches]:
        """From the file, or made where it is missing or damaged."""
        kept = read_chunk(self.path, self.pairs)
        if kept is None:
            match_chunk(store, [(names[i], names[j]) for i, j in self.pairs], self.path)
            kept = read_chunk(self.path, self.pairs)
            assert kept is not None, "it has just been written"
        return kept


def chunks_of(store: FeatureStore, names: Sequence[str], pairs: Sequence[Pair]) -> list[Chunk]:
    """The chunks of sorted pairs, with their files in the store's cache."""
    folder = store.cache / "matches"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, len(pairs), PAIRS_PER_CHUNK):
        part = pairs[start : start + PAIRS_PER_CHUNK]
        keys = [[store.key(names[i]), store.key(names[j])] for i, j in part]
        identity = json.dumps([_thresholds(store), keys])
        digest = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        chunks.append(Chunk(pairs=part, path=folder / f"{digest}.npz"))
    return chunks


def match_chunk(store: FeatureStore, pairs: Sequence[tuple[str, str]], path: Path) -> None:
    """A unit of work: the matches of some pairs of photos, into a file."""
    matches = []
    for first, second in pairs:
        rows, similarity = match_descriptors(
            store.get(first).descriptor.astype(np.float32),
            store.get(second).descriptor.astype(np.float32),
            **_thresholds(store),
        )
        matches.append(PairMatches(pair=(0, 0), rows=rows, similarity=similarity))
    _save(path, matches)


def chunk_counts(chunk: Chunk) -> I64:
    """How many matches (K,) each pair of a chunk has that workers have matched."""
    try:
        return np.asarray(_read(chunk.path, len(chunk.pairs))["count"], np.int64)
    except FileNotFoundError:
        raise MappingError(f"{chunk.path}: not there; map again") from None


def _read(path: Path, pairs: int) -> dict[str, NDArray[Any]]:
    """Arrays of a chunk of so many pairs. Raises DamagedError, FileNotFoundError."""
    data = read_arrays(path)
    lengths = check(path, data, {"count": "C", "rows": "K2", "similarity": "K"})
    count, rows = data["count"], data["rows"]
    whole = count.dtype.kind == rows.dtype.kind == "i"
    if not whole or lengths["C"] != pairs or min(count.min(), rows.min(initial=0)) < 0:
        raise DamagedError(f"{path}: damaged, not the matches of {pairs} pairs; map again")
    if count.sum(dtype=np.float64) != lengths["K"]:
        raise DamagedError(f"{path}: damaged, its counts do not add up; map again")
    return data


def _thresholds(store: FeatureStore) -> dict[str, float]:
    sift = store.spec.kind == "sift"
    return {
        "min_similarity": 0.0 if sift else store.spec.similarity_of_pairs,
        "max_ratio": SIFT_RATIO if sift else 1.0,
    }


def _save(path: Path, matches: list[PairMatches]) -> None:
    stream = io.BytesIO()
    np.savez(
        stream,
        count=np.array([len(m.rows) for m in matches]),
        rows=np.concatenate([m.rows for m in matches]),
        similarity=np.concatenate([m.similarity for m in matches]),
    )
    write_atomic(path, stream.getvalue())


def read_chunk(path: Path, pairs: Sequence[Pair]) -> list[PairMatches] | None:
    """The matches of a chunk's pairs from its file; None where it is missing or damaged."""
    try:
        data = _read(path, len(pairs))
    except (DamagedError, FileNotFoundError):
        return None
    ends = np.cumsum(data["count"])
    rows = np.split(data["rows"], ends[:-1])
    similarity = np.split(data["similarity"], ends[:-1])
    return [
        PairMatches(pair=pair, rows=r, similarity=s)
        for pair, r, s in zip(pairs, rows, similarity, strict=True)
    ]
