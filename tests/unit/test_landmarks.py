"""Landmarks: clustering, their files, pruning and recognition, on known places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_reloc.bundle import BundleWriter, Manifest, World, layout, open_bundle
from edge_reloc.errors import BundleError, ConfigError, MappingError
from edge_reloc.features import FeatureSpec
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose
from edge_reloc.memory.arena import Arena
from edge_reloc.retrieval.landmarks import (
    FEWEST_KEYPOINTS,
    NOWHERE,
    LandmarkPoints,
    LandmarkRetriever,
    open_landmarks,
)
from edge_reloc.structs import Candidates, Features
from edge_reloc_export.packing.birch import birch, grow_leaves, merge_leaves
from edge_reloc_export.packing.kept_landmarks import kept_landmarks
from edge_reloc_export.packing.landmarks import (
    LandmarkOptions,
    automatic_number,
    consistent,
    define_landmarks,
    ground_axes,
    write_landmarks,
)
from edge_reloc_export.packing.pruning import PruningOptions, points_to_keep
from edge_reloc_export.scene.model import SceneModel, View
from tests.mapping_world import CAMERA, make_world
from tests.mapping_world import World as MappingWorld

KEYPOINTS, DIM = 24, 8


def blobs(clusters: int, dim: int, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Points in blobs far apart, and the blob of each."""
    generator = np.random.default_rng(0)
    centre = 10.0 * np.stack(np.unravel_index(np.arange(clusters), (4,) * dim), axis=1)
    label = generator.permutation(np.repeat(np.arange(clusters), each))
    return centre[label] + 0.4 * generator.normal(size=(len(label), dim)), label


@pytest.mark.parametrize("dim", [2, 3])
def test_birch_finds_blobs(dim: int) -> None:
    points, truth = blobs(12, dim)
    label = birch(points, 12)
    pairs = {(int(a), int(b)) for a, b in zip(label, truth, strict=True)}
    assert len(pairs) == len(set(label.tolist())) == 12


def test_clustering_features_agree_with_their_points() -> None:
    points, _ = blobs(9, 2, each=200)
    leaves = grow_leaves(points, 100)
    assert len(leaves.count) <= 100
    assert leaves.count.sum() == len(points)
    np.testing.assert_allclose(leaves.total.sum(axis=0), points.sum(axis=0))
    np.testing.assert_allclose(leaves.square.sum(), (points**2).sum())


def test_merging_adds_least_variance() -> None:
    points = np.random.default_rng(1).uniform(size=(40, 2))
    leaves = grow_leaves(points, 64)  # one each
    cluster = merge_leaves(leaves, 5)
    # By definition: at each step the pair of clusters whose union adds least variance.
    groups = [[k] for k in range(40)]
    centre = leaves.centre
    while len(groups) > 5:
        cost = {
            (a, b): len(groups[a])
            * len(groups[b])
            / (len(groups[a]) + len(groups[b]))
            * ((centre[groups[a]].mean(0) - centre[groups[b]].mean(0)) ** 2).sum()
            for a in range(len(groups))
            for b in range(a)
        }
        a, b = min(cost, key=lambda pair: cost[pair])
        groups[b] += groups.pop(a)
    expected = {frozenset(group) for group in groups}
    assert {frozenset(np.flatnonzero(cluster == k).tolist()) for k in range(5)} == expected


def test_nothing_cannot_be_clustered() -> None:
    with pytest.raises(MappingError, match="cannot be put into"):
        birch(np.zeros((0, 2)), 3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> MappingWorld:
    return make_world(tmp_path_factory.mktemp("world"), photos=12, points=900)


@pytest.fixture(scope="module")
def model(world: MappingWorld) -> SceneModel:
    """The wall with its true points, each seen where it is seen."""
    views = []
    for view in world.views:
        point = world.point_of[view.name]
        rows = np.flatnonzero(point >= 0)
        view.keypoint, view.point_id = rows.astype(np.int32), point[rows].astype(np.int32)
        view.xy_px = world.store.get(view.name).xy_px[rows]
        views.append(view)
    return SceneModel(
        views=views, xyz=world.xyz.copy(), metric=True, gravity=np.array([0.0, 0.0, -1.0])
    )


def test_a_point_alone_is_not_consistent(model: SceneModel) -> None:
    strayed = model.xyz.copy()
    strayed[7] = [0.0, 40.0, 20.0]
    found = consistent(
        SceneModel(views=model.views, xyz=strayed, metric=True, gravity=model.gravity)
    )
    # That it is seen from farther away must not excuse it.
    assert not found[7]
    assert np.delete(found, 7).mean() > 0.99


def test_ground_axes() -> None:
    down = np.array([0.1, 0.9, -0.2])
    axes = ground_axes(np.zeros((3, 3)), down)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(axes @ down, 0, atol=1e-12)
    flat = np.random.default_rng(0).normal(size=(200, 3)) * [5, 0.01, 3]
    assert np.abs(ground_axes(flat, None)[:, 1]).max() < 0.01


def test_landmarks_of_a_wall_are_columns(model: SceneModel) -> None:
    """On the ground plane a wall falls apart along its width, not its height."""
    landmarks = define_landmarks(model, LandmarkOptions(number=6))
    assert landmarks.count == 6
    spread = [np.ptp(model.xyz[landmarks.label == k], axis=0) for k in range(1, 7)]
    assert min(s[2] for s in spread) > 3.0  # of 4 m
    assert max(s[0] for s in spread) < 3.0  # of 6 m
    in_space = define_landmarks(model, LandmarkOptions(number=6, dimensions=3))
    heights = [np.ptp(model.xyz[in_space.label == k, 2]) for k in range(1, 7)]
    assert min(heights) < 3.0


def test_reference_frame_sees_most(model: SceneModel) -> None:
    landmarks = define_landmarks(model, LandmarkOptions(number=6))
    for k in range(1, 7):
        seen = [(landmarks.label[np.unique(v.point_id)] == k).sum() for v in model.views]
        assert seen[landmarks.view[k - 1]] == max(seen)


def test_automatic_number_grows_with_the_place(model: SceneModel) -> None:
    one = automatic_number(model)
    left = [v for v in model.views if v.name < "006.png"]
    shifted = SceneModel(
        views=[*left, *[_moved(v, len(model.xyz)) for v in left]],
        xyz=np.concatenate([model.xyz, model.xyz + [50.0, 0, 0]]),
        metric=True,
        gravity=model.gravity,
    )
    assert automatic_number(shifted) > 1.5 * one


def _moved(view: View, points: int) -> View:
    return replace(
        view,
        cam_from_world=view.cam_from_world @ compose(np.eye(3), [-50.0, 0, 0]),
        point_id=view.point_id + points,
    )


def test_parts_are_clustered_apart(model: SceneModel) -> None:
    both = SceneModel(
        views=[
            *[replace(v, name=f"a/{v.name}") for v in model.views],
            *[replace(_moved(v, len(model.xyz)), name=f"b/{v.name}") for v in model.views],
        ],
        xyz=np.concatenate([model.xyz, model.xyz + [50.0, 0, 0]]),
        metric=True,
    )
    down = {"a": model.gravity, "b": None}
    landmarks = define_landmarks(both, LandmarkOptions(number=10), down)
    label = landmarks.label.reshape(2, -1)
    assert not set(label[0][label[0] > 0]) & set(label[1][label[1] > 0])
    assert set(landmarks.label.tolist()) - {0} == set(range(1, landmarks.count + 1))


@pytest.mark.parametrize("values", [{"number": 0}, {"dimensions": 4}])
def test_senseless_options(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        LandmarkOptions(**values)


def write(folder: Path, model: SceneModel, **arrays: np.ndarray) -> Path:
    """A bundle with landmarks; arrays by file name replace what was written."""
    landmarks = define_landmarks(model, LandmarkOptions(number=6))
    manifest = Manifest(
        name="wall",
        world=World(metric=True),
        features=FeatureSpec(kind="sift", dim=DIM),
        method="exhaustive",
        cameras={"camera0": CAMERA.to_dict()},
    )
    with BundleWriter(folder, manifest) as bundle:
        bundle.add_array("points/xyz.npy", model.xyz.astype(np.float32))
        write_landmarks(bundle, landmarks, model.views)
        for name, array in arrays.items():
            bundle.add_array(f"landmarks/{name}.npy", array)
    return folder


def test_landmark_files_round_trip(model: SceneModel, tmp_path: Path) -> None:
    found = open_landmarks(open_bundle(write(tmp_path / "map", model)))
    landmarks = define_landmarks(model, LandmarkOptions(number=6))
    assert found.count == 6
    for k in range(1, 7):
        np.testing.assert_array_equal(found.of(k), np.flatnonzero(landmarks.label == k))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"start": np.array([0, 3, 2], np.int32)}, "does not rise"),
        ({"start": np.array([1, 3], np.int32)}, "does not rise"),
        ({"start": np.array([0, 5], np.int32)}, "ends at 5"),
        ({"start": np.array([0.0, 5.0])}, "start.npy: found float64"),
        (
            {"start": np.array([0, 2], np.int32), "point_id": np.zeros((2, 2), np.int32)},
            r"found int32 \(2, 2\)",
        ),
        (
            {"start": np.array([0, 2], np.int32), "point_id": np.array([0, 900], np.int32)},
            "names 0 to 900, expected 0 to 899",
        ),
    ],
)
def test_damaged_landmarks_are_refused(
    model: SceneModel, tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    bundle = open_bundle(write(tmp_path / "map", model, **arrays))
    with pytest.raises(BundleError, match=words):
        open_landmarks(bundle)


@pytest.fixture(scope="module")
def glimpsed(model: SceneModel) -> SceneModel:
    """The same wall, of which every photo found a third of what it sees."""
    generator = np.random.default_rng(3)
    views = []
    for view in model.views:
        rows = generator.random(len(view.point_id)) < 1 / 3
        views.append(
            replace(
                view,
                xy_px=view.xy_px[rows],
                point_id=view.point_id[rows],
                keypoint=view.keypoint[rows],
            )
        )
    return replace(model, views=views)


def test_pruning_drops_what_a_kept_point_stands_for(glimpsed: SceneModel) -> None:
    label = define_landmarks(glimpsed, LandmarkOptions(number=6)).label
    radius = 12.0
    keep = points_to_keep(glimpsed, label, PruningOptions(radius_px=radius, cover=1.0))
    seen = np.unique(np.concatenate([v.point_id for v in glimpsed.views]))
    assert 0.3 < keep[seen].mean() < 0.8
    for k in range(1, 7):
        own = [np.unique(v.point_id[label[v.point_id] == k]) for v in glimpsed.views]
        assert keep[own[int(np.argmax([len(ids) for ids in own]))]].all()
        # Every point that went falls, in some photo, near a kept point that it found.
        gone = np.flatnonzero((label == k) & ~keep)
        nearest = np.full(len(gone), np.inf)
        for view, ids in zip(glimpsed.views, own, strict=True):
            pose = view.cam_from_world
            kept, out = (
                CAMERA.project(glimpsed.xyz[rows] @ pose[:3, :3].T + pose[:3, 3])
                for rows in (ids[keep[ids]], gone)
            )
            away = np.linalg.norm(out[:, None] - kept[None], axis=2).min(axis=1, initial=np.inf)
            nearest = np.fmin(nearest, away)
        assert (nearest[np.isin(gone, seen)] <= radius + 1e-6).all()


def test_pruning_stops_when_enough_is_covered(glimpsed: SceneModel) -> None:
    label = define_landmarks(glimpsed, LandmarkOptions(number=6)).label
    kept = [
        points_to_keep(glimpsed, label, PruningOptions(radius_px=3.0, cover=cover)).sum()
        for cover in (0.3, 0.6, 1.0)
    ]
    assert kept[0] < kept[1] < kept[2]


def test_pruning_by_nothing_keeps_everything_seen(model: SceneModel) -> None:
    landmarks = define_landmarks(model, LandmarkOptions(number=6))
    keep = points_to_keep(model, landmarks.label, PruningOptions(radius_px=0.0, cover=1.0))
    seen = np.unique(np.concatenate([v.point_id for v in model.views]))
    np.testing.assert_array_equal(np.flatnonzero(keep), seen[landmarks.label[seen] > 0])


class FixedRecogniser:
    """A landmark network whose answer is known."""

    def __init__(self, probability: np.ndarray) -> None:
        n = len(probability)
        self.inputs = {
            "descriptor": np.full((1, n, DIM), np.nan, np.float32),
            "ray": np.full((1, n, 2), np.nan, np.float32),
            "mask": np.full((1, n), np.nan, np.float32),
        }
        self.outputs = {"probability": probability[None].astype(np.float32)}

    def run(self) -> None:
        """The output never changes."""

    def close(self) -> None:
        """Nothing to give back."""


LANDMARKS = LandmarkPoints(
    start=np.array([0, 10, 30, 35], np.int32),
    point_id=np.concatenate([np.arange(0, 30, 3), np.arange(100, 120), np.arange(1, 6)]).astype(
        np.int32
    ),
)


def retrieved(
    probability: np.ndarray, n: int, *, most: int = 3, capacity: int = 35
) -> tuple[Candidates, FixedRecogniser]:
    arena = Arena()
    features, out = Features(arena, KEYPOINTS, DIM, 0), Candidates(arena, capacity, KEYPOINTS)
    features.n, features.camera = (
        n,
        Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=31.5, cy=23.5),
    )
    features.xy_px[:n] = np.arange(2 * n).reshape(n, 2)
    engine = FixedRecogniser(probability)
    LandmarkRetriever(LANDMARKS, engine, most=most).retrieve(features, out)
    return out, engine


def answers(*rows: tuple[int, int, float]) -> np.ndarray:
    """(N,4): each (count, landmark, probability), the rest on another landmark."""
    found = []
    for count, landmark, p in rows:
        row = np.full(4, (1 - p) / 3)
        row[landmark] = p
        found += [row] * count
    return np.array(found)


def test_keypoints_match_within_their_landmark() -> None:
    out, engine = retrieved(answers((6, 1, 0.5), (5, 2, 0.8), (4, 0, 0.95), (5, 3, 0.7)), 20)
    assert out.query_group[:20].tolist() == [1] * 6 + [2] * 5 + [NOWHERE] * 4 + [3] * 5
    assert (out.query_group[20:] == NOWHERE).all()
    assert out.n == 35
    assert (np.diff(out.point_id[: out.n]) >= 0).all()
    for k in (1, 2, 3):
        rows = out.group[: out.n] == k
        assert set(out.point_id[: out.n][rows].tolist()) == set(LANDMARKS.of(k).tolist())
        np.testing.assert_allclose(out.score[: out.n][rows], {1: 3.0, 2: 4.0, 3: 3.5}[k])
    assert engine.inputs["mask"][0].tolist() == [1.0] * 20
    np.testing.assert_allclose(
        engine.inputs["ray"][0, 3], [(6 - 31.5) / 50, (7 - 23.5) / 50], rtol=1e-6
    )


def test_masked_keypoints_are_zero() -> None:
    _, engine = retrieved(answers((12, 1, 0.5)), 7)
    assert engine.inputs["mask"][0].tolist() == [1.0] * 7 + [0.0] * 5
    assert (engine.inputs["descriptor"][0, 7:] == 0).all()


def test_only_the_surest_landmarks_are_tried() -> None:
    out, _ = retrieved(answers((6, 1, 0.5), (5, 2, 0.8), (5, 3, 0.7)), 16, most=2)
    assert set(out.group[: out.n].tolist()) == {2, 3}
    assert (out.query_group[:6] == NOWHERE).all()


def test_few_keypoints_make_no_landmark() -> None:
    out, _ = retrieved(answers((FEWEST_KEYPOINTS - 1, 1, 0.9), (6, 2, 0.8)), FEWEST_KEYPOINTS + 5)
    assert set(out.group[: out.n].tolist()) == {2}


def test_over_capacity_the_least_sure_is_left_out() -> None:
    out, _ = retrieved(answers((6, 1, 0.5), (5, 2, 0.8), (5, 3, 0.7)), 16, capacity=26)
    assert set(out.group[: out.n].tolist()) == {2, 3}
    assert (out.n, out.truncated) == (25, 10)


def test_nothing_of_the_map_in_sight() -> None:
    out, _ = retrieved(answers((20, 0, 0.95)), 20)
    assert out.n == 0
    assert (out.query_group == NOWHERE).all()


def test_network_of_another_map_is_refused() -> None:
    with pytest.raises(BundleError, match="knows 5 landmarks, the map has 3"):
        LandmarkRetriever(LANDMARKS, FixedRecogniser(np.full((4, 6), 1 / 6)), most=3)


def test_after_an_update_landmarks_keep_their_numbers_and_take_in_what_is_near() -> None:
    points, truth = blobs(4, 3)
    old = truth + 1
    gone = old == 3  # retired, all of them
    near = points[old == 1][:20] + 0.05
    far = points[old == 2][:30] + [0.0, 0.0, 40.0]  # new, and nowhere near a landmark
    xyz = np.concatenate([points[~gone], near, far])
    label = np.concatenate([old[~gone], np.zeros(len(near) + len(far), int)])
    order = np.argsort(label, kind="stable")
    start = np.searchsorted(label[order], np.arange(1, 6))
    ids = order[start[0] :].astype(np.int32)
    arrays = {layout.LANDMARK_START: start - start[0], layout.LANDMARK_POINT_ID: ids}
    seen = np.arange(len(xyz))
    pose = compose(np.eye(3), np.array([0.0, 0.0, 60.0]))
    view = View(
        name="a", camera=CAMERA, cam_from_world=pose, xy_px=np.zeros((len(xyz), 2), np.float32),
        point_id=seen, keypoint=seen.astype(np.int32),
    )  # fmt: skip
    model = SceneModel(views=[view], xyz=xyz, metric=True)
    found = kept_landmarks(SimpleNamespace(array=arrays.get), model, published=False)
    assert found.count == 4 and not (found.label == 3).any()
    kept = label > 0
    np.testing.assert_array_equal(found.label[kept], label[kept])
    np.testing.assert_array_equal(found.label[len(kept) - 50 : -30], 1)
    np.testing.assert_array_equal(found.label[-30:], 0)
