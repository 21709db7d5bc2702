"""Known points and poses in, triangulated points out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mapping_world import World, make_world

from edge_reloc.errors import MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, transform
from edge_reloc_export.packing.descriptors import medoid, point_descriptors
from edge_reloc_export.packing.uncertainty import point_sigma
from edge_reloc_export.scene.clean import CleanOptions, clean, point_statistics
from edge_reloc_export.scene.matching import PairMatches, match_descriptors, match_pairs
from edge_reloc_export.scene.model import SceneModel, View, load_model, save_model
from edge_reloc_export.scene.pairs import pairs_by_similarity
from edge_reloc_export.scene.posed import map_posed
from edge_reloc_export.scene.tracks import Tracks, build_tracks
from edge_reloc_export.scene.triangulate import TriangulationOptions, retriangulated
from edge_reloc_export.scene.view_geometry import ViewGeometry

POINT_TOLERANCE_M = 0.02  # 0.3 px of noise at 5 m and 520 px is 3 mm, in depth some 5 times that
OUTLIERS_TOLERATED = 0.02  # share of points; three photos may agree on a wrong one by chance


def true_points(world: World, model: SceneModel) -> tuple[np.ndarray, np.ndarray]:
    """Point of the world that most observations show (P,), and their share."""
    counts = np.zeros((len(model.xyz), len(world.xyz) + 1), int)
    for view in model.views:
        np.add.at(counts, (view.point_id, world.point_of[view.name][view.keypoint]), 1)
    return counts[:, :-1].argmax(axis=1), counts[:, :-1].max(axis=1) / counts.sum(axis=1)


@pytest.mark.parametrize("wrong", [0.0, 0.2])
def test_points_are_where_they_are(tmp_path: Path, wrong: float) -> None:
    world = make_world(tmp_path, wrong=wrong)
    model = map_posed(world.views, world.store, TriangulationOptions(), progress=False)
    point, share = true_points(world, model)
    error = np.linalg.norm(model.xyz - world.xyz[point], axis=1)
    assert (error > POINT_TOLERANCE_M).mean() <= OUTLIERS_TOLERATED
    assert (share < 1.0).mean() <= OUTLIERS_TOLERATED
    assert len(np.unique(point)) >= 0.9 * len(world.xyz)
    statistics = point_statistics(model)
    assert statistics.length.min() >= 3
    assert statistics.error_px.mean() < 0.5  # the noise is 0.3 px a coordinate


def test_many_photos_take_the_pairs_by_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_reloc_export.scene.pairs.ALL_PAIRS_UP_TO", 10)
    monkeypatch.setattr("edge_reloc_export.scene.pairs.PAIRS_PER_PHOTO", 6)
    world = make_world(tmp_path, photos=24, points=200)
    model = map_posed(world.views, world.store, TriangulationOptions(), progress=False)
    point, _ = true_points(world, model)
    error = np.linalg.norm(model.xyz - world.xyz[point], axis=1)
    assert np.median(error) < POINT_TOLERANCE_M / 2
    assert len(np.unique(point)) >= 0.95 * len(world.xyz)
    # A photo is matched with a dozen others: longer tracks reached across.
    assert point_statistics(model).length.mean() > 16


def test_a_track_meets_a_photo_once(tmp_path: Path) -> None:
    world = make_world(tmp_path, wrong=0.3)
    model = map_posed(world.views, world.store, TriangulationOptions(), progress=False)
    for view in model.views:
        assert len(np.unique(view.point_id)) == len(view.point_id)
        np.testing.assert_array_equal(view.xy_px, world.store.get(view.name).xy_px[view.keypoint])


def test_wrong_poses_are_one_clear_error(tmp_path: Path) -> None:
    world = make_world(tmp_path, photos=9)
    rng = np.random.default_rng(1)
    for view in world.views:
        view.cam_from_world[:3, :3] = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        view.cam_from_world[:3, 3] = rng.standard_normal(3)
    with pytest.raises(MappingError, match="check that the poses belong to the photos"):
        map_posed(world.views, world.store, TriangulationOptions(min_length=6), progress=False)


def test_two_wrong_joins_do_not_fuse_two_points() -> None:
    # Photos 0, 1, 2 see points a (row 0) and b (row 1); one weak match mixes them.
    good = np.array([[0, 0], [1, 1]], np.int32)
    matches = [
        PairMatches(pair=(0, 1), rows=good, similarity=np.array([0.9, 0.9], np.float32)),
        PairMatches(pair=(1, 2), rows=good, similarity=np.array([0.9, 0.9], np.float32)),
        PairMatches(
            pair=(0, 2), rows=np.array([[0, 1]], np.int32), similarity=np.array([0.5], np.float32)
        ),
    ]
    tracks = build_tracks(matches, [2, 2, 2])
    assert tracks.count == 2
    for track in range(2):
        rows = tracks.track == track
        assert len(set(tracks.keypoint[rows].tolist())) == 1
        assert tracks.view[rows].tolist() == [0, 1, 2]


def test_matches_are_mutual_and_unique() -> None:
    rng = np.random.default_rng(3)
    first = rng.standard_normal((50, 16)).astype(np.float32)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    order = rng.permutation(50)
    second = first[order]
    second[:5] = second[5]  # six candidates that are all alike
    rows, similarity = match_descriptors(first, second, min_similarity=0.99, max_ratio=1.0)
    assert len(np.unique(rows[:, 1])) == len(rows) == len(np.unique(rows[:, 0]))
    np.testing.assert_allclose(similarity, 1.0, atol=1e-5)
    ratio_rows, _ = match_descriptors(first, second, min_similarity=0.99, max_ratio=0.85)
    assert not set(ratio_rows[:, 1].tolist()) & set(range(6))  # the ratio test refuses them
    assert (order[ratio_rows[:, 1]] == ratio_rows[:, 0]).all()
    assert len(ratio_rows) == 44


def test_matching_resumes_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path, photos=6)
    names = [view.name for view in world.views]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    monkeypatch.setattr("edge_reloc_export.scene.matching.PAIRS_PER_CHUNK", 4)
    calls = []
    get = world.store.get

    def interrupted(name: str):
        calls.append(name)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return get(name)

    monkeypatch.setattr(world.store, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        match_pairs(world.store, names, pairs, progress=False)
    calls.clear()
    monkeypatch.setattr(world.store, "get", lambda name: (calls.append(name), get(name))[1])
    resumed = match_pairs(world.store, names, pairs, progress=False)
    assert len(calls) == 2 * (len(pairs) - 8)  # two chunks of four were done before
    fresh = match_pairs(make_world(tmp_path / "b", photos=6).store, names, pairs, progress=False)
    for a, b in zip(resumed, fresh, strict=True):
        assert a.pair == b.pair
        np.testing.assert_array_equal(a.rows, b.rows)


def test_similar_photos_and_neighbours_are_paired() -> None:
    vectors = np.eye(100, dtype=np.float32)
    vectors[90] = vectors[3]
    pairs = pairs_by_similarity(vectors, window=2, per_photo=1)
    assert {(0, 1), (0, 2), (3, 90)} <= set(pairs)
    assert all(i < j for i, j in pairs)
    assert len(pairs) < 400


def test_medoid_is_the_observation_in_the_middle() -> None:
    angle = np.radians([0, 10, 13, 80])
    descriptors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert medoid(descriptors) == 1  # median distances 13, 10, 13 and 70 degrees
    assert medoid(descriptors[:1]) == 0


def test_each_point_has_the_descriptor_of_one_observation(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    model = map_posed(world.views, world.store, TriangulationOptions(), progress=False)
    descriptors = point_descriptors(model, world.store)
    assert descriptors.dtype == np.float16 and len(descriptors) == len(model.xyz)
    found = np.zeros(len(model.xyz), bool)
    for view in model.views:
        own = world.store.get(view.name).descriptor[view.keypoint]
        found[view.point_id] |= (own == descriptors[view.point_id]).all(axis=1)
    assert found.all()


def test_cleaning_drops_what_floats_and_what_is_blurred(tmp_path: Path) -> None:
    world = make_world(tmp_path, points=600)
    model = map_posed(world.views, world.store, TriangulationOptions(), progress=False)
    length = point_statistics(model).length
    floating, blurred = (int(i) for i in np.flatnonzero(length == length.max())[:2])
    # Towards the cameras' middle: it floats, however small its error is made.
    model.xyz[floating] = [0.0, 1.5, 1.5]
    options = CleanOptions(max_error_px=1e6)
    kept = clean(model, options)
    assert len(model.xyz) - len(kept.xyz) <= 0.02 * len(model.xyz) + 1
    assert not (np.abs(kept.xyz - [0.0, 1.5, 1.5]) < 1e-9).all(axis=1).any()
    target = model.xyz[blurred].copy()
    for view in model.views:
        view.xy_px[view.point_id == blurred] += 5.0
    sharp = clean(model, CleanOptions())
    assert not (np.abs(sharp.xyz - target) < 1e-9).all(axis=1).any()
    for view in sharp.views:
        assert view.point_id.max() < len(sharp.xyz)


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    world = make_world(tmp_path, photos=4)
    model = map_posed(world.views, world.store, TriangulationOptions(), progress=False)
    model.gravity, model.notes = np.array([0.0, 0.0, -1.0]), ["a note"]
    save_model(tmp_path / "model.npz", model)
    again = load_model(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.xyz, model.xyz)
    np.testing.assert_array_equal(again.gravity, model.gravity)
    assert again.notes == model.notes and again.metric is model.metric
    for a, b in zip(again.views, model.views, strict=True):
        assert (a.name, a.camera) == (b.name, b.camera)
        np.testing.assert_array_equal(a.cam_from_world, b.cam_from_world)
        np.testing.assert_array_equal(a.keypoint, b.keypoint)
    (tmp_path / "model.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:500])
    with pytest.raises(MappingError, match="damaged"):
        load_model(tmp_path / "model.npz")


def test_points_say_how_well_they_are_known() -> None:
    """Errors in units of what is claimed are 1 along the mean ray and across it."""
    rng, count = np.random.default_rng(4), 400
    camera = Camera(model="pinhole", width=640, height=480, fx=500, fy=500, cx=319.5, cy=239.5)
    xyz = rng.uniform([-2, -1, 5], [2, 1, 9], (count, 3))
    poses = [compose(np.eye(3), [-x, 0.0, 0.0]) for x in (-0.4, 0.0, 0.1, 0.5)]
    noise_px = 0.7
    ids = np.arange(count, dtype=np.int32)
    views = []
    for n, pose in enumerate(poses):
        xy = camera.project(transform(pose, xyz)) + rng.normal(size=(count, 2)) * noise_px
        views.append(
            View(
                name=f"{n}.jpg",
                camera=camera,
                cam_from_world=pose,
                xy_px=xy.astype(np.float32),
                point_id=ids,
                keypoint=ids,
            )
        )
    tracks = Tracks(
        view=np.tile(np.arange(4, dtype=np.int32), count),
        keypoint=np.repeat(ids, 4),
        track=np.repeat(ids, 4),
    )
    observed = np.stack([view.xy_px for view in views], axis=1).reshape(-1, 2).astype(np.float64)
    found = retriangulated(tracks, ViewGeometry(views), xyz, observed)
    sigma = point_sigma(SceneModel(views=views, xyz=found, metric=True)).astype(np.float64)
    ray = found - [0.05, 0, 0]
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    along = ((found - xyz) * ray).sum(axis=1)
    across = np.linalg.norm(found - xyz - along[:, None] * ray, axis=1) / np.sqrt(2)
    assert np.median(sigma[:, 1] / sigma[:, 0]) > 5
    assert np.mean((along / sigma[:, 1]) ** 2) == pytest.approx(1, abs=0.2)
    assert np.mean((across / sigma[:, 0]) ** 2) == pytest.approx(1, abs=0.2)
