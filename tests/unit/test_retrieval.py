"""Retrievers against the plain definition of the sets they promise."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.bundle.points import PointMap
from edge_reloc.inference.engine import OnHost
from edge_reloc.memory.arena import Arena
from edge_reloc.retrieval.cells import CellsRetriever
from edge_reloc.retrieval.exhaustive import ExhaustiveRetriever
from edge_reloc.retrieval.generative import NEAREST_K, GenerativeRetriever, voxel_downsample
from edge_reloc.structs import Candidates, Features

POINTS, CELLS, KEYPOINTS = 4000, 50, 32


class FixedEngine(OnHost):
    """A network whose answer is known."""

    def __init__(self, name: str, value: np.ndarray) -> None:
        self.inputs = {"embedding": np.zeros((1, 8), np.float32)}
        self.outputs = {name: value}

    def run(self) -> None:
        """The output never changes."""

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture(scope="module")
def points() -> PointMap:
    generator = np.random.default_rng(0)
    label = np.sort(generator.integers(0, CELLS, POINTS))
    centre = generator.uniform(0, 10, (CELLS, 3))
    xyz = centre[label] + generator.normal(size=(POINTS, 3)) * 0.3
    start = np.searchsorted(label, np.arange(CELLS + 1)).astype(np.int32)
    radius = [
        np.linalg.norm(xyz[label == k] - centre[k], axis=1).max(initial=0) for k in range(CELLS)
    ]
    return PointMap(
        xyz=xyz.astype(np.float32),
        descriptor=np.zeros((POINTS, 4), np.float16),
        cell_start=start,
        cell_centre=centre.astype(np.float32),
        cell_radius=np.array(radius, np.float32) * 1.001,
    )


def buffers(capacity: int) -> tuple[Features, Candidates]:
    arena = Arena()
    return Features(arena, KEYPOINTS, 4, 8), Candidates(arena, capacity, KEYPOINTS)


def distances(points: PointMap, samples: np.ndarray) -> np.ndarray:
    difference = points.xyz[:, None].astype(np.float64) - samples[None]
    return np.sqrt((difference**2).sum(axis=2))


@pytest.mark.parametrize("radius", [0.05, 0.4, 3.0])
def test_radius_search_is_exact(points: PointMap, radius: float) -> None:
    samples = np.random.default_rng(1).uniform(0, 10, (60, 3)).astype(np.float32)
    features, out = buffers(POINTS)
    engine = FixedEngine("points", samples)
    GenerativeRetriever(points, engine, radius=radius, voxel=1e-6, search="radius").retrieve(
        features, out
    )
    nearest = distances(points, samples).min(axis=1)
    clear = np.abs(nearest - radius) > 1e-4  # float32 decides the boundary
    expected = np.flatnonzero((nearest <= radius) & clear)
    found = out.point_id[: out.n]
    np.testing.assert_array_equal(found[clear[found]], expected)
    assert out.truncated == 0


def test_over_capacity_the_nearest_stay(points: PointMap) -> None:
    samples = np.random.default_rng(1).uniform(0, 10, (60, 3)).astype(np.float32)
    features, out = buffers(200)
    engine = FixedEngine("points", samples)
    GenerativeRetriever(points, engine, radius=2.0, voxel=1e-6, search="radius").retrieve(
        features, out
    )
    nearest = distances(points, samples).min(axis=1)
    assert out.n == 200
    assert out.truncated == (nearest <= 2.0).sum() - 200
    assert nearest[out.point_id[:200]].max() <= np.sort(nearest)[199] + 1e-4
    assert (np.diff(out.point_id[:200]) > 0).all()


def test_nearest_search_is_bounded_a_sample(points: PointMap) -> None:
    samples = points.xyz[::1000].copy()
    features, out = buffers(POINTS)
    engine = FixedEngine("points", samples)
    GenerativeRetriever(points, engine, radius=1.0, voxel=1e-6, search="nearest").retrieve(
        features, out
    )
    table = distances(points, samples)
    expected: set[int] = set()
    for column in table.T:
        near = np.argsort(column)[:NEAREST_K]
        expected |= set(near[column[near] <= 1.0].tolist())
    assert set(out.point_id[: out.n].tolist()) == expected


def test_thinning_keeps_one_sample_a_voxel() -> None:
    generator = np.random.default_rng(2)
    samples = generator.normal(size=(500, 3)).astype(np.float32)
    samples[7] = np.nan
    kept = voxel_downsample(samples, 0.5)
    keys = [tuple(k) for k in np.floor(kept / 0.5).astype(int)]
    assert len(set(keys)) == len(keys)
    finite = samples[np.isfinite(samples).all(axis=1)]
    assert set(keys) == {tuple(k) for k in np.floor(finite / 0.5).astype(int)}
    assert len(voxel_downsample(np.full((3, 3), np.nan, np.float32), 0.5)) == 0


@pytest.mark.parametrize("capacity", [16, 333, POINTS])
def test_cells_fill_the_capacity_exactly(points: PointMap, capacity: int) -> None:
    share = np.random.default_rng(3).random((1, CELLS)).astype(np.float32)
    features, out = buffers(capacity)
    CellsRetriever(points, FixedEngine("share", share)).retrieve(features, out)
    assert out.n == capacity
    ids = out.point_id[: out.n]
    assert (np.diff(ids) > 0).all()
    cell = np.searchsorted(points.cell_start, ids, side="right") - 1
    whole = [k for k in np.unique(cell) if (cell == k).sum() == np.diff(points.cell_start)[k]]
    partial = set(np.unique(cell).tolist()) - set(whole)
    assert len(partial) <= 1
    left = set(range(CELLS)) - set(np.unique(cell).tolist())
    if left and whole:
        assert min(share[0, list(whole)]) >= max(share[0, list(left)])


def test_exhaustive_counts_what_capacity_cuts() -> None:
    features, out = buffers(100)
    ExhaustiveRetriever(250).retrieve(features, out)
    assert (out.n, out.truncated) == (100, 150)
