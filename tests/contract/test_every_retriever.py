"""What `stages.Retriever` promises, for every method that retrieves."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from demo_stages import VARIANTS, Demo

import edge_reloc.retrieval
from edge_reloc.memory.arena import Arena
from edge_reloc.stages import Retriever
from edge_reloc.structs import Candidates, Features


class Case(NamedTuple):
    """A retriever, a frame for it, and a buffer of the size that its method takes."""

    retriever: Retriever
    features: Features
    out: Candidates
    points: int


@pytest.fixture(scope="module", params=VARIANTS)
def case(request: pytest.FixtureRequest, demo: Demo) -> Case:
    """Each method's, with its own features."""
    stages = demo.stages(VARIANTS[request.param])
    embedder = stages.embedder
    features = demo.extract(embedder.dim if embedder else 0)
    if embedder:
        embedder.embed(demo.frame, features)
    out = Candidates(Arena(), stages.capacity, features.capacity)
    assert stages.points is not None
    return Case(stages.retriever, features, out, stages.points.n)


def test_points_are_of_the_map_ascending_and_scored(case: Case) -> None:
    retriever, features, out, points = case
    retriever.retrieve(features, out)
    assert 0 < out.n <= out.capacity
    ids = out.point_id[: out.n]
    assert (np.diff(ids) > 0).all()
    assert ids[0] >= 0 and ids[-1] < points
    assert np.isfinite(out.score[: out.n]).all()
    groups = set(out.query_group[: features.n].tolist())
    assert groups & set(out.group[: out.n].tolist()), "no keypoint may match any candidate"


def test_a_small_buffer_is_never_overrun(case: Case) -> None:
    retriever, features, whole, _ = case
    retriever.retrieve(features, whole)
    small = Candidates(Arena(), max(1, whole.n // 3), features.capacity)
    retriever.retrieve(features, small)
    assert 0 <= small.n <= small.capacity
    assert (np.diff(small.point_id[: small.n]) > 0).all()


def test_the_same_again_whatever_was_in_the_buffer(case: Case) -> None:
    retriever, features, out, _ = case
    retriever.retrieve(features, out)
    first = [array.copy() for array in (out.point_id, out.group, out.score, out.query_group)]
    n, truncated = out.n, out.truncated
    for array in (out.point_id, out.group, out.query_group):
        array[:] = 77
    out.n, out.truncated = 3, 5
    retriever.retrieve(features, out)
    assert (out.n, out.truncated) == (n, truncated)
    for array, before in zip((out.point_id, out.group, out.score), first, strict=False):
        np.testing.assert_array_equal(array[:n], before[:n])
    np.testing.assert_array_equal(out.query_group[: features.n], first[3][: features.n])


@pytest.mark.parametrize("n", [0, 200])
def test_rows_behind_the_last_keypoint_are_not_read(case: Case, n: int) -> None:
    retriever, features, out, _ = case
    whole, kept = features.n, features.descriptor.copy()
    found = []
    try:
        for _ in range(2):
            for features.n in (whole, n):  # the first leaves its traces
                retriever.retrieve(features, out)
            found.append((out.point_id[: out.n].tolist(), out.score[: out.n].tolist()))
            features.descriptor[n:] = np.roll(kept[n:], 1, axis=1)
    finally:
        features.n, features.descriptor[:] = whole, kept
    assert found[0] == found[1]


def test_every_retriever_is_tried(demo: Demo) -> None:
    tried = {type(demo.stages(settings).retriever).__module__ for settings in VARIANTS.values()}
    folder = Path(edge_reloc.retrieval.__file__).parent
    there = {f"edge_reloc.retrieval.{path.stem}" for path in folder.glob("[a-z]*.py")}
    assert tried == there - {"edge_reloc.retrieval.best_first"}  # which two of them share
