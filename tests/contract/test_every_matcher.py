"""What `stages.Matcher` promises; the one on the GPU is compared in tests/gpu."""

from __future__ import annotations

import numpy as np
import pytest
from demo_stages import VARIANTS, Demo

from edge_reloc.bundle.points import PointMap, open_points
from edge_reloc.matching.nearest import NearestMatcher
from edge_reloc.memory.arena import Arena
from edge_reloc.memory.threads import Workers
from edge_reloc.stages import Matcher
from edge_reloc.structs import Candidates, Correspondences, Features

THREADS = (1, 3)


class Case:
    """A matcher of the demo's map, a frame, every point as candidate, a sealed arena."""

    def __init__(self, demo: Demo, threads: int) -> None:
        arena = Arena()
        self.points: PointMap = open_points(demo.bundle)
        self.features: Features = demo.extract()
        keypoints = self.features.capacity
        self.candidates = Candidates(arena, self.points.n, keypoints)
        demo.stages(VARIANTS["exhaustive"]).retriever.retrieve(self.features, self.candidates)
        self.matcher: Matcher = NearestMatcher(
            self.points,
            arena,
            keypoints=keypoints,
            candidates=self.points.n,
            block=512,
            min_similarity=demo.spec.min_similarity,
            max_ratio=1.0,
            workers=Workers(threads),
        )
        self.out = Correspondences(arena, keypoints)
        arena.seal()

    def match(self, out: Correspondences | None = None) -> Correspondences:
        out = out or self.out
        self.matcher.match(self.features, self.candidates, out)
        return out


@pytest.fixture(params=THREADS)
def case(request: pytest.FixtureRequest, demo: Demo) -> Case:
    return Case(demo, request.param)


def test_matches_say_where_they_come_from_the_best_first(case: Case) -> None:
    out = case.match()
    n = out.n
    assert 100 < n <= min(case.features.n, out.capacity)
    keypoint, point_id = out.keypoint[:n], out.point_id[:n]
    np.testing.assert_array_equal(out.xy_px[:n], case.features.xy_px[keypoint])
    np.testing.assert_array_equal(out.xyz_world[:n], case.points.xyz[point_id])
    assert len(set(keypoint.tolist())) == n, "a keypoint has one match at most"
    assert len(set(point_id.tolist())) == n, "a point has one match at most"
    assert (np.diff(out.weight[:n]) <= 0).all() and out.weight[n - 1] > 0


def test_only_given_candidates_are_matched(case: Case) -> None:
    half = case.candidates.point_id[::2].copy()
    case.candidates.point_id[: len(half)] = half
    case.candidates.n = len(half)
    out = case.match()
    assert out.n > 50
    assert set(out.point_id[: out.n].tolist()) <= set(half.tolist())


def test_groups_never_mix(case: Case) -> None:
    case.candidates.group[:] = np.arange(case.points.n) % 3
    case.candidates.query_group[:] = np.arange(case.features.capacity) % 4  # nothing in group 3
    out = case.match()
    assert out.n > 50
    groups = out.keypoint[: out.n] % 4
    assert set(groups.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(groups, out.point_id[: out.n] % 3)


def test_a_small_buffer_keeps_the_best(case: Case) -> None:
    whole = case.match()
    small = case.match(Correspondences(Arena(), 20))
    assert small.n == 20
    np.testing.assert_array_equal(small.keypoint, whole.keypoint[:20])


def test_rows_behind_the_last_keypoint_are_not_read(case: Case) -> None:
    case.features.n = 500
    found = []
    for _ in range(2):
        out = case.match()
        found.append(list(zip(out.keypoint[: out.n], out.point_id[: out.n], strict=True)))
        case.features.descriptor[500:] = case.features.descriptor[:500].repeat(2, axis=0)[:1000]
    assert len(found[0]) > 20 and found[0] == found[1]


@pytest.mark.parametrize("lacking", ["candidates", "features"])
def test_nothing_to_match_is_no_match(case: Case, lacking: str) -> None:
    getattr(case, lacking).n = 0
    case.out.n = 7
    assert case.match().n == 0
