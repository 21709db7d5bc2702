"""The blocked matcher against the plain definition of mutual neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.bundle.points import PointMap
from edge_reloc.matching import nearest
from edge_reloc.matching.matches import decision_threshold
from edge_reloc.matching.nearest import NearestMatcher
from edge_reloc.memory.arena import Arena
from edge_reloc.memory.threads import Workers
from edge_reloc.structs import Candidates, Correspondences, Features

BLOCK = 256  # so that a map needs several


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(points: int, keypoints: int, dim: int, seed: int = 0) -> tuple[PointMap, Features, Arena]:
    """A map, and keypoints most of which are noisy copies of its points."""
    generator = np.random.default_rng(seed)
    descriptor = unit(generator.normal(size=(points, dim))).astype(np.float16)
    point_map = PointMap(
        xyz=generator.normal(size=(points, 3)).astype(np.float32),
        descriptor=descriptor,
        cell_start=np.array([0, points], np.int32),
        cell_centre=np.zeros((1, 3), np.float32),
        cell_radius=np.ones(1, np.float32) * 10,
    )
    arena = Arena()
    features = Features(arena, keypoints, dim, 0)
    source = generator.integers(0, points, keypoints)
    noisy = descriptor[source].astype(np.float64) + generator.normal(size=(keypoints, dim)) * 0.08
    features.n = keypoints
    features.descriptor[:] = unit(noisy)
    features.xy_px[:] = generator.uniform(0, 640, (keypoints, 2))
    return point_map, features, arena


def plain(
    features: Features, points: PointMap, ids: np.ndarray, similarity: float, ratio: float
) -> set[tuple[int, int]]:
    """All pairs by definition."""
    table = features.descriptor[: features.n] @ points.descriptor[ids].astype(np.float32).T
    pairs = set()
    for row in range(len(table)):
        column = int(table[row].argmax())
        if table[:, column].argmax() != row or table[row, column] < similarity:
            continue
        second = np.partition(table[row], -2)[-2]
        if ratio < 1 and 1 - table[row, column] > ratio**2 * (1 - second):
            continue
        pairs.add((row, int(ids[column])))
    return pairs


@pytest.mark.parametrize("ratio", [1.0, 0.8])
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_matches_equal_the_definition(
    ratio: float, dense: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        nearest, "MULTIPLICATIONS_A_THREAD", 1
    )  # even these few are shared between threads
    points, features, arena = make(points=3 * BLOCK + 17, keypoints=300, dim=64)
    candidates = Candidates(arena, points.n, 300)
    candidates.clear()
    generator = np.random.default_rng(1)
    ids = np.arange(points.n) if dense else np.flatnonzero(generator.random(points.n) < 0.6)
    candidates.n = len(ids)
    candidates.point_id[: len(ids)] = ids
    matcher = NearestMatcher(
        points,
        arena,
        keypoints=300,
        candidates=points.n,
        block=BLOCK,
        min_similarity=0.8,
        max_ratio=ratio,
        workers=Workers(threads),
    )
    out = Correspondences(arena, 300)
    arena.seal()
    matcher.match(features, candidates, out)
    found = set(zip(out.keypoint[: out.n].tolist(), out.point_id[: out.n].tolist(), strict=True))
    expected = plain(features, points, ids, 0.8, ratio)
    assert len(expected) > 50
    assert found == expected
    np.testing.assert_allclose(out.xyz_world[: out.n], points.xyz[out.point_id[: out.n]])
    assert (np.diff(out.weight[: out.n]) <= 0).all()


@pytest.mark.parametrize("ratio", [1e-300, 1e-150, 1e-3])
def test_the_smallest_ratios_decide_everything(ratio: float) -> None:
    assert -3.0 < decision_threshold(0.65, ratio) < -1.0
