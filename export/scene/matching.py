"""Photo-to-photo matches: mutual nearest neighbours, cached and resumable."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edge_reloc.arrays import F32, I32
from edge_reloc.files import write_atomic

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

    Thresholds follow the feature: sift by ratio, networks by min_similarity.
    """
    sift = store.spec.kind == "sift"
    settings = {
        "min_similarity": 0.0 if sift else store.spec.similarity_of_pairs,
        "max_ratio": SIFT_RATIO if sift else 1.0,
    }
    folder = store.work / "matches"
    folder.mkdir(parents=True, exist_ok=True)
    found: list[PairMatches] = []
    pairs = sorted(pairs)
    bar = open_bar(len(pairs), "matching", "pair", shown=progress)
    for start in range(0, len(pairs), PAIRS_PER_CHUNK):
        chunk = pairs[start : start + PAIRS_PER_CHUNK]
        identity = [settings, [[store.key(names[i]), store.key(names[j])] for i, j in chunk]]
        digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()
        path = folder / f"{digest}.npz"
        matches = _load(path, chunk)
        if matches is None:
            matches = []
            for i, j in chunk:
                rows, similarity = match_descriptors(
                    store.get(names[i]).descriptor.astype(np.float32),
                    store.get(names[j]).descriptor.astype(np.float32),
                    **settings,
                )
                matches.append(PairMatches(pair=(i, j), rows=rows, similarity=similarity))
                bar.update()
            _save(path, matches)
        else:
            bar.update(len(chunk))
        found += matches
    bar.close()
    return found


def _save(path: Path, matches: list[PairMatches]) -> None:
    stream = io.BytesIO()
    np.savez(
        stream,
        count=np.array([len(m.rows) for m in matches]),
        rows=np.concatenate([m.rows for m in matches]),
        similarity=np.concatenate([m.similarity for m in matches]),
    )
    write_atomic(path, stream.getvalue())


def _load(path: Path, pairs: Sequence[Pair]) -> list[PairMatches] | None:
    try:
        with np.load(path, allow_pickle=False) as data:
            ends = np.cumsum(data["count"])
            rows = np.split(data["rows"], ends[:-1])
            similarity = np.split(data["similarity"], ends[:-1])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    if len(rows) != len(pairs):
        return None
    return [
        PairMatches(pair=pair, rows=r, similarity=s)
        for pair, r, s in zip(pairs, rows, similarity, strict=True)
    ]
