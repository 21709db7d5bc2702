"""The kernels against the matcher on the processor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from edge_reloc.bundle.points import PointMap
from edge_reloc.cuda.driver import CudaError
from edge_reloc.matching.nearest import NearestMatcher
from edge_reloc.matching.nearest_cuda import CudaMatcher
from edge_reloc.memory.arena import Arena
from edge_reloc.structs import Candidates, Correspondences, Features

KEYPOINTS = 200  # not a multiple of anything


@dataclass(frozen=True, kw_only=True)
class World:
    """A map, and keypoints most of which are noisy copies of its points."""

    points: PointMap
    features: Features
    candidates: Candidates

    def on_gpu(self, gpu: Any, **settings: Any) -> Correspondences:
        out = Correspondences(Arena(), self.features.capacity)
        matcher = CudaMatcher(
            self.points,
            gpu,
            keypoints=self.features.capacity,
            candidates=self.candidates.capacity,
            **settings,
        )
        gpu.arena.seal()
        matcher.match(self.features, self.candidates, out)
        return out

    def on_cpu(self, **settings: Any) -> Correspondences:
        """With queries rounded as the kernels round them."""
        out = Correspondences(Arena(), self.features.capacity)
        matcher = NearestMatcher(
            self.points,
            Arena(),
            keypoints=self.features.capacity,
            candidates=self.candidates.capacity,
            block=256,
            **settings,
        )
        exact = self.features.descriptor.copy()
        self.features.descriptor[:] = rounded(exact, self.points.descriptor.dtype)
        matcher.match(self.features, self.candidates, out)
        self.features.descriptor[:] = exact
        return out


def rounded(rows: np.ndarray, kind: np.dtype) -> np.ndarray:
    if kind == np.float16:
        return rows.astype(np.float16).astype(np.float32)
    scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    return np.asarray(np.rint(rows / scale) * scale, np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def make(*, dim: int = 64, kind: type = np.float16, points: int = 700, seed: int = 0) -> World:
    generator = np.random.default_rng(seed)
    descriptor = unit(generator.normal(size=(points, dim)))
    scale = 1.0
    if kind is np.int8:
        scale = float(np.abs(descriptor).max()) / 127
        stored = np.rint(descriptor / scale).astype(np.int8)
    else:
        stored = descriptor.astype(np.float16)
    point_map = PointMap(
        xyz=generator.normal(size=(points, 3)).astype(np.float32),
        descriptor=stored,
        cell_start=np.array([0, points], np.int32),
        cell_centre=np.zeros((1, 3), np.float32),
        cell_radius=np.ones(1, np.float32),
        scale=scale,
    )
    features = Features(Arena(), KEYPOINTS, dim, 0)
    source = generator.integers(0, points, KEYPOINTS)
    noise = generator.normal(size=(KEYPOINTS, dim)) * 0.5 / np.sqrt(dim)
    features.descriptor[:] = unit(descriptor[source] + noise)
    features.xy_px[:] = generator.uniform(0, 640, (KEYPOINTS, 2))
    features.n = KEYPOINTS
    candidates = Candidates(Arena(), points, KEYPOINTS)
    candidates.clear()
    candidates.n = points
    candidates.point_id[:] = np.arange(points)
    return World(points=point_map, features=features, candidates=candidates)


def same(found: Correspondences, expected: Correspondences, at_least: int = 50) -> None:
    """The same matches; only similarities that differ by rounding may change the order."""
    assert expected.n >= at_least
    order, expected_order = (np.argsort(c.keypoint[: c.n]) for c in (found, expected))
    np.testing.assert_array_equal(found.keypoint[order], expected.keypoint[expected_order])
    np.testing.assert_array_equal(found.point_id[order], expected.point_id[expected_order])
    np.testing.assert_allclose(found.weight[order], expected.weight[expected_order], atol=2e-5)
    np.testing.assert_array_equal(found.xy_px[order], expected.xy_px[expected_order])
    np.testing.assert_array_equal(found.xyz_world[order], expected.xyz_world[expected_order])
    assert (np.diff(found.weight[: found.n]) <= 0).all()


@pytest.mark.parametrize("kind", [np.float16, np.int8])
@pytest.mark.parametrize("dim", [32, 48, 64, 128, 256])
def test_every_length_of_descriptors(open_gpu: Any, dim: int, kind: type) -> None:
    world, settings = make(dim=dim, kind=kind), {"min_similarity": 0.7, "max_ratio": 0.9}
    same(world.on_gpu(open_gpu(), **settings), world.on_cpu(**settings))


@pytest.mark.parametrize("max_ratio", [1.0, 0.95, 0.8])
@pytest.mark.parametrize("min_similarity", [0.9, 0.5, -1.0])
def test_thresholds(open_gpu: Any, min_similarity: float, max_ratio: float) -> None:
    world = make()
    settings = {"min_similarity": min_similarity, "max_ratio": max_ratio}
    same(world.on_gpu(open_gpu(), **settings), world.on_cpu(**settings), at_least=20)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 130, 699])
def test_any_number_of_candidates_anywhere(open_gpu: Any, count: int) -> None:
    world = make()
    world.candidates.n = count
    ids = np.random.default_rng(1).choice(700, count, replace=False)
    world.candidates.point_id[:count] = np.sort(ids)
    settings = {"min_similarity": 0.3, "max_ratio": 1.0}
    same(world.on_gpu(open_gpu(), **settings), world.on_cpu(**settings), at_least=1)


def test_a_run_of_neighbours_needs_no_ids(open_gpu: Any) -> None:
    world = make()
    world.candidates.n = 200
    world.candidates.point_id[:200] = np.arange(300, 500)
    settings = {"min_similarity": 0.5, "max_ratio": 1.0}
    found = world.on_gpu(open_gpu(), **settings)
    same(found, world.on_cpu(**settings), at_least=20)


def test_groups_never_mix(open_gpu: Any) -> None:
    world = make()
    world.candidates.group[:] = np.arange(700) % 3
    world.candidates.query_group[:] = np.arange(KEYPOINTS) % 4  # group 3 has no candidates
    settings = {"min_similarity": 0.2, "max_ratio": 0.95}
    found = world.on_gpu(open_gpu(), **settings)
    same(found, world.on_cpu(**settings), at_least=20)
    groups = found.keypoint[: found.n] % 4
    assert set(groups.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(groups, found.point_id[: found.n] % 3)


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("graphs", [True, False])
def test_frame_after_frame_in_the_same_memory(open_gpu: Any, mapped: bool, graphs: bool) -> None:
    world, settings = make(), {"min_similarity": 0.5, "max_ratio": 0.95}
    gpu = open_gpu(mapped=mapped, graphs=graphs)
    matcher = CudaMatcher(world.points, gpu, keypoints=KEYPOINTS, candidates=700, **settings)
    gpu.arena.seal()
    taken, out = gpu.arena.nbytes, Correspondences(Arena(), KEYPOINTS)
    assert (gpu.arena.pinned_bytes == 0) == mapped
    for frame in range(4):
        other = make(seed=frame)
        world.features.n = KEYPOINTS - 50 * frame
        world.features.descriptor[:] = other.features.descriptor
        world.candidates.n = 700 - 150 * frame
        matcher.match(world.features, world.candidates, out)
        same(out, world.on_cpu(**settings), at_least=0)
    assert gpu.arena.nbytes == taken


def test_descriptors_that_the_network_left_on_the_device(open_gpu: Any) -> None:
    world, settings = make(), {"min_similarity": 0.5, "max_ratio": 0.95}
    gpu = open_gpu()
    network = gpu.arena.take_staged("engine.descriptors", (500, 64), np.float32)
    rows = np.random.default_rng(2).choice(500, KEYPOINTS, replace=False)
    network.host[:] = np.nan
    network.host[rows] = world.features.descriptor
    world.features.row[:] = rows
    gpu.arena.upload(network, gpu.stream)
    exact = world.features.descriptor.copy()
    expected = world.on_cpu(**settings)
    world.features.descriptor[:] = np.nan  # never looked at
    found = world.on_gpu(gpu, source=network.address, **settings)
    world.features.descriptor[:] = exact
    same(found, expected)


def test_what_is_no_number_matches_nothing(open_gpu: Any) -> None:
    world, settings = make(), {"min_similarity": 0.5, "max_ratio": 1.0}
    expected = world.on_cpu(**settings)
    spoilt = int(expected.keypoint[0])
    world.features.descriptor[spoilt] = np.nan
    found = world.on_gpu(open_gpu(), **settings)
    assert spoilt not in found.keypoint[: found.n].tolist()
    assert found.n >= expected.n - 1


def test_nothing_to_match_is_no_match(open_gpu: Any) -> None:
    world = make()
    world.candidates.n = 0
    assert world.on_gpu(open_gpu(), min_similarity=0.5, max_ratio=1.0).n == 0


def test_descriptors_that_are_too_long_are_refused(open_gpu: Any) -> None:
    world = make(dim=300)
    with pytest.raises(CudaError, match="300 numbers take 600 bytes, at most 512 fit"):
        world.on_gpu(open_gpu(), min_similarity=0.5, max_ratio=1.0)


def test_equal_points_are_settled_as_on_the_processor(open_gpu: Any) -> None:
    """Of equals the first wins, whatever is added first and wherever a column lies."""
    world, settings = make(), {"min_similarity": 0.5, "max_ratio": 1.0}
    # In steps of 1/64 every product and sum is exact, and so is the tie of two columns.
    stored = (np.rint(64 * world.points.descriptor.astype(np.float32)) / 64).astype(np.float16)
    stored[350:] = stored[:350]
    world.features.descriptor[:] = np.rint(64 * world.features.descriptor) / 64
    twins = replace(world, points=replace(world.points, descriptor=stored))
    expected = twins.on_cpu(**settings)
    assert (expected.point_id[: expected.n] < 350).all()
    same(twins.on_gpu(open_gpu(), **settings), expected, at_least=20)
