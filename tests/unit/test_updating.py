"""A map that lives: what changed goes and comes, all else stays to the bit."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="updating is of the extra 'export'")
pytest.importorskip("onnx", reason="updating is of the extra 'export'")
pytest.importorskip("cryptography", reason="signs updates: extra 'sign'")

import changing_world as made
from changing_world import ChangingWorld

from edge_reloc import __main__ as programs
from edge_reloc.bundle import layout, open_bundle
from edge_reloc.errors import EdgeRelocError
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.running.demo import DEMO
from edge_reloc_export import train, update
from edge_reloc_export.living import refit_cells, register, updating
from edge_reloc_export.living.difference import compare_maps
from edge_reloc_export.living.evidence import Looks, judge
from edge_reloc_export.living.expectation import hidden
from edge_reloc_export.living.extended_work import NEXT_MODEL, add_folder, check_base, load_base
from edge_reloc_export.living.last_layer import read_layers
from edge_reloc_export.living.register import register_photos
from edge_reloc_export.nets.landmarks import RecogniserShape
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.packing.quantising import in_steps, quantise
from edge_reloc_export.photos.features import FeatureStore
from edge_reloc_export.tiles.write import write_tiles
from edge_reloc_export.training.landmarks import trainer
from edge_reloc_export.training.landmarks.trainer import RecogniserConfig
from edge_reloc_export.training.visible_structure import session
from edge_reloc_export.work_folder import work_folder

# Of points well inside or outside the repainted part; what lies at its edge looks otherwise too.
LEAST_RECALL, LEAST_PRECISION = 0.95, 0.97
EDGE_M = 0.15
PER_POINT = (layout.XYZ, layout.DESCRIPTORS, layout.DIRECTION, layout.SIGMA)
PLACED_M = 0.02  # of photos of which half is unknown, before they are refined
MERGED_M = 0.004  # of points of two maps that were aligned: what a pixel is at 3 m


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ChangingWorld:
    return made.make_changing_world(tmp_path_factory.mktemp("changing"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integrity is measured in one test, which is enough."""
    monkeypatch.setattr(updating, "measure", lambda *_: None)


@pytest.fixture(scope="module")
def updated(world: ChangingWorld) -> Path:
    output, key = world.folder / "updated", world.folder / "site.key"
    assert programs.main(["sign", "--new-key", str(key)]) == 0
    signed = ["--delta", world.folder / "delta", "--key", key]
    assert call(world.bundle, world.later, output, *signed) == 0
    return output


def call(bundle: Path, images: Path, output: Path, *more: object) -> int:
    words = ["--map", bundle, "--images", images, "--output", output, *more]
    return update.main([str(word) for word in words])


def digest(bundle: Path) -> str:
    return hashlib.sha256((bundle / layout.MANIFEST).read_bytes()).hexdigest()


def rows_of(bundle: Path) -> dict[bytes, tuple[bytes, ...]]:
    """By place and look, what else a bundle holds of each point."""
    opened = open_bundle(bundle)
    arrays = [np.asarray(opened.array(name)) for name in PER_POINT]
    return {
        xyz.tobytes() + look.tobytes(): tuple(row.tobytes() for row in rest)
        for xyz, look, *rest in zip(*arrays, strict=True)
    }


def test_repainted_points_go_and_all_others_stay_to_the_bit(
    world: ChangingWorld, updated: Path
) -> None:
    before, after = rows_of(world.bundle), rows_of(updated)
    xyz = np.array([np.frombuffer(key[:12], np.float32) for key in before])
    kept = np.array([key in after for key in before])
    edge = -made.SIDE_M / 2 + made.CHANGED_SHARE * made.SIDE_M
    seam = np.linalg.norm(xyz[:, 1:], axis=1)  # where the wall stands on the floor
    clear = (np.abs(xyz[:, 0] - edge) > EDGE_M) & (seam > EDGE_M)
    gone = made.is_repainted(xyz)
    assert np.mean(~kept[gone & clear]) > LEAST_RECALL
    assert np.mean(gone[~kept & clear]) > LEAST_PRECISION
    assert all(after[key] == values for key, values in before.items() if key in after)
    new = np.array([np.frombuffer(key[:12], np.float32) for key in after if key not in before])
    assert np.median(np.abs(new).min(axis=1)) < 0.002  # on the wall or on the floor
    assert made.is_repainted(new).sum() > 0.5 * gone.sum()


def test_the_world_does_not_move_and_the_work_folder_goes_along(
    world: ChangingWorld, updated: Path
) -> None:
    old = load_packed(work_folder(world.bundle), open_bundle(world.bundle))
    new = load_packed(work_folder(updated), open_bundle(updated))
    for a, b in zip(old.views, new.views, strict=False):
        assert a.name == b.name
        np.testing.assert_array_equal(a.cam_from_world, b.cam_from_world)
    assert len(new.views) == len(old.views) + 9
    a, b = open_bundle(world.bundle), open_bundle(updated)
    for name in (layout.VLAD_CENTROIDS, layout.VLAD_PROJECTION):
        assert a.manifest.files[name] == b.manifest.files[name]
    assert b.manifest.integrity is not None  # measured: the first map had too few photos
    assert b.manifest.statistics["updates"] == 1


def test_the_delta_makes_the_same_map(world: ChangingWorld, updated: Path, tmp_path: Path) -> None:
    delta = world.folder / "delta"
    words = ["--map", world.bundle, "--delta", delta, "--output", tmp_path / "made"]
    public = world.folder / "site.key.pub"
    assert programs.main(["apply", *map(str, words), "--require-signed", str(public)]) == 0
    assert digest(tmp_path / "made") == digest(updated)
    open_bundle(tmp_path / "made", require_signed=public)
    assert delta.stat().st_size < 0.3 * open_bundle(updated).nbytes()


def test_an_update_follows_an_update(
    world: ChangingWorld, updated: Path, tmp_path: Path, quick: None
) -> None:
    output = tmp_path / "twice"
    assert call(updated, world.same, output) == 0  # it is as it was at first, again
    found = compare_maps(open_bundle(updated), open_bundle(output))
    repainted = made.is_repainted(found.a[found.retired])
    assert repainted.mean() > 0.9
    assert open_bundle(output).manifest.statistics["updates"] == 2
    assert (
        load_packed(work_folder(output), open_bundle(output)).views[-1].name.startswith("update2/")
    )


def test_where_nothing_changed_nothing_goes(
    world: ChangingWorld, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(world.bundle, world.same, tmp_path / "same", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["retired"] == 0
    assert summary["seen_again"] > 0.9 * summary["points_before"]


def test_photos_that_show_little_of_what_was_are_placed_all_the_same(
    world: ChangingWorld, tmp_path: Path
) -> None:
    """The whole wall is painted anew and the floor stays: what frames are refused for."""
    textures = [made._texture(seed) for seed in (1, 9)]
    poses = made.write_photos(tmp_path / "painted", textures, np.linspace(0.0, 1.0, 4))
    paths = {name: tmp_path / "painted" / name for name in poses}
    bundle = open_bundle(world.bundle)
    found = register_photos(bundle, paths, {}, None, tmp_path)
    assert len(found.views) >= 3  # one of the four has 14 inliers
    for view in found.views:
        assert pose_error(view.cam_from_world, poses[view.name]).translation < PLACED_M
    again = register._of_changed_places(bundle)
    assert again.method == "exhaustive"
    assert again.min_coverage is not None
    assert again.min_coverage < bundle.manifest.features.min_coverage


def test_photos_of_another_place_are_refused(
    world: ChangingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    textures = [made._texture(seed) for seed in (31, 32)]
    made.write_photos(tmp_path / "elsewhere", textures, np.linspace(0, 1, 3))
    before = digest(world.bundle)
    assert call(world.bundle, tmp_path / "elsewhere", tmp_path / "map") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "none of 3 new photos fits into the map" in line
    assert digest(world.bundle) == before and not (tmp_path / "map").exists()


def test_photos_that_the_map_has_are_not_new(
    world: ChangingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(world.bundle, world.folder / "photos", tmp_path / "map") == 1
    assert "none of its 14 photos is new" in capsys.readouterr().err


def test_some_that_do_not_fit_are_listed_and_left_out(
    world: ChangingWorld, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = Path(shutil.copytree(world.same, tmp_path / "mixed"))
    cv2.imwrite(str(mixed / "blank.png"), np.full((360, 480), 90, np.uint8))
    (mixed / "broken.png").write_bytes(b"no picture")
    shutil.copy(world.folder / "photos" / "photos_00.png", mixed / "copy.png")
    assert call(world.bundle, mixed, tmp_path / "map", "--json") == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert left_out["update1/blank.png"].startswith("NO_FEATURES")
    assert left_out["update1/broken.png"] == "cannot be read"
    assert left_out["update1/copy.png"] == "is photos_00.png once more"
    assert len(left_out) == 3


def test_an_interrupted_update_goes_on_and_comes_out_the_same(
    world: ChangingWorld, updated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "updated"
    with monkeypatch.context() as patch:
        patch.setattr(updating, "grow", interrupted)
        assert call(world.bundle, world.later, output) == 130
    assert not output.exists()
    with monkeypatch.context() as patch:  # nothing is localised twice
        patch.setattr("edge_reloc.localizer.Localizer.localize", interrupted)
        assert call(world.bundle, world.later, output) == 0
    assert digest(output) == digest(updated)


def test_in_place_a_kill_before_the_last_step_loses_nothing(
    world: ChangingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    place = Path(shutil.copytree(world.bundle, tmp_path / "map"))
    work = Path(shutil.copytree(work_folder(world.bundle), tmp_path / "map.work"))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(updating, "take_next", killed)
        assert call(place, world.same, place) == 130
    assert (work / NEXT_MODEL).is_file()
    assert len(load_base(work, open_bundle(place)).views) == 23
    assert not (work / NEXT_MODEL).is_file()


def test_a_full_disk_is_one_line_and_the_map_stays(
    world: ChangingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = Path(shutil.copytree(world.bundle, tmp_path / "map"))
    shutil.copytree(work_folder(world.bundle), tmp_path / "map.work")
    before = digest(place)

    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("edge_reloc.bundle.exchange.WorkFolder.publish", full)
    assert call(place, world.same, place) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No space left on device" in line and "make room" in line
    assert digest(place) == before
    assert not [name for name in os.listdir(tmp_path) if "writing" in name]


def test_rows_of_cells_that_did_not_change_stay_in_the_head(
    world: ChangingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    place = Path(shutil.copytree(world.bundle, tmp_path / "map"))
    shutil.copytree(work_folder(world.bundle), tmp_path / "map.work")
    monkeypatch.setattr(session, "CellsConfig", partial(session.CellsConfig, steps=150))
    monkeypatch.setattr(session, "PARTS", 4)
    monkeypatch.setattr(refit_cells, "PARTS", 4)
    monkeypatch.setattr(refit_cells, "STEPS", 100)
    assert train.main(["--map", str(place), "--head", "cells"]) == 0
    few = tmp_path / "few"
    few.mkdir()
    for name in sorted(os.listdir(world.later))[:3]:
        shutil.copy(world.later / name, few)
    assert call(place, few, tmp_path / "updated") == 0
    head = layout.network_file("cells")
    old, new = (read_layers(path / head) for path in (place, tmp_path / "updated"))
    for a, b in zip(old[:-1], new[:-1], strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)
    found = compare_maps(open_bundle(place), open_bundle(tmp_path / "updated")).by_cell()
    xyz = [open_bundle(path).array(layout.CELL_START) for path in (place, tmp_path / "updated")]
    same = (np.diff(xyz[0]) == np.diff(xyz[1])[: len(xyz[0]) - 1]) & (found["retired"] == 0)
    rows = (old[-1].weight == new[-1].weight[: len(same)]).all(axis=1)
    assert same.any() and rows[same].all() and not rows[found["retired"] > 0].any()


def test_the_recogniser_goes_on_for_the_updated_map_and_a_delta_carries_it(
    world: ChangingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = Path(shutil.copytree(world.bundle, tmp_path / "map"))
    shutil.copytree(work_folder(world.bundle), tmp_path / "map.work")
    words = ["--method", "landmarks", "--iterations", "2"]
    assert train.main(["--map", str(place), *words, "--continue"]) == 1
    assert "has no landmarks to go on with" in capsys.readouterr().err
    small = RecogniserShape(width=16, layers=1, heads=2, keypoints=64, context=16)
    config = RecogniserConfig(shape=small, photos=2, keypoints=32, copies=0)
    monkeypatch.setitem(trainer.PRESETS, "quick", config)
    assert train.main(["--map", str(place), *words]) == 0
    output = tmp_path / "updated"
    assert call(place, world.later, output) == 0
    waiting, before = open_bundle(output), layout.LANDMARK_POINT_ID
    known = set(np.asarray(waiting.array(before)).tolist())
    old = Path(shutil.copytree(output, tmp_path / "before"))
    assert train.main(["--map", str(output), *words, "--continue"]) == 0
    trained = open_bundle(output)
    start = [np.asarray(b.array(layout.LANDMARK_START)) for b in (open_bundle(place), trained)]
    assert len(start[0]) == len(start[1])  # the same landmarks, with points that came
    assert known < set(np.asarray(trained.array(before)).tolist())
    told = trained.manifest.methods["landmarks"]
    assert told == open_bundle(place).manifest.methods["landmarks"]
    network = layout.network_file("landmarks")
    assert trained.manifest.files[network].sha256 != waiting.manifest.files[network].sha256
    delta = tmp_path / "head.delta"
    assert programs.main(["diff", str(old), str(output), "--delta", str(delta)]) == 0
    words = ["--map", str(old), "--delta", str(delta), "--output", str(tmp_path / "device")]
    assert programs.main(["apply", *words]) == 0
    assert digest(tmp_path / "device") == digest(output)


def test_two_maps_that_overlap_become_one(
    world: ChangingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    from edge_reloc.geometry.rigid import so3_exp
    from edge_reloc.reference.colmap import read_model
    from edge_reloc_export.scene.similarity import Similarity

    elsewhere = Similarity(
        scale=1.7, rotation=so3_exp([0.3, -0.5, 0.9]), translation=np.array([4.0, -2.0, 1.0])
    )
    truth = {i.name: i.cam_from_world for i in read_model(world.folder / "reference").images}
    names = sorted(truth)
    for part, chosen in (("left", names[:9]), ("right", names[5:])):
        (tmp_path / part).mkdir()
        for name in chosen:
            shutil.copy(world.folder / "photos" / name, tmp_path / part)
        move = elsewhere.of_pose if part == "right" else np.asarray
        poses = {name: move(truth[name]) for name in chosen}
        made.write_reference(tmp_path / f"{part}_reference", poses)
        made.map_photos(tmp_path / part, tmp_path / f"{part}_reference", tmp_path / f"{part}_map")
    maps = [tmp_path / "left_map", tmp_path / "right_map"]
    words = ["combine", "--merge", "--maps", *maps, "--output", tmp_path / "both"]
    assert programs.main([str(word) for word in words]) == 0
    left, both = open_bundle(maps[0]), open_bundle(tmp_path / "both")
    model = load_packed(work_folder(tmp_path / "both"), both)
    assert {Path(view.name).name for view in model.views} == set(names)  # shared ones once
    for view in model.views:
        there = truth[Path(view.name).name]
        assert np.abs(view.cam_from_world - there).max() < MERGED_M
    xyz = both.array(layout.XYZ)
    assert len(xyz) > len(left.array(layout.XYZ))
    assert np.median(np.abs(xyz).min(axis=1)) < MERGED_M
    assert all(key in rows_of(tmp_path / "both") for key in rows_of(maps[0]))


def test_diff_tells_what_came_and_went(
    world: ChangingWorld, updated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "diff.png"
    words = ["diff", world.bundle, updated, "--json", "--picture", picture]
    assert programs.main([str(word) for word in words]) == 0
    found = json.loads(capsys.readouterr().out)
    before, after = rows_of(world.bundle), rows_of(updated)
    assert found["points"] == [len(before), len(after)]
    assert found["kept"] - found["moved"] == sum(key in after for key in before)
    assert found["retired"] + found["kept"] == len(before)
    assert found["added"] + found["kept"] == len(after)
    assert found["photos"] == {"both": 14, "only_first": 0, "only_second": 9}
    assert sum(cell["retired"] for cell in found["cells"]) == found["retired"]
    assert cv2.imread(str(picture)).shape[1] > 800
    assert programs.main(["diff", str(updated), str(updated)]) == 0
    assert "0 retired, 0 added" in capsys.readouterr().out


def test_evidence_finds_what_is_gone_and_learns_how_much() -> None:
    rng = np.random.default_rng(3)
    count, accident = 3000, 0.01
    xyz = rng.uniform(0, 10, (count, 3)) * [1, 1, 0.1]
    gone = xyz[:, 0] < 2.5  # a piece, a quarter of all
    rate = rng.beta(6, 3, count)
    tried = rng.integers(3, 9, count)
    old = Looks(tried=tried, found=rng.binomial(tried, rate))
    looked = rng.integers(0, 6, count)
    chance = np.where(gone, accident, 0.8 * rate)
    verdict = judge(old, Looks(tried=looked, found=rng.binomial(looked, chance)), accident, xyz)
    assert abs(verdict.gone_rate - 0.25) < 0.05  # a look alone leaves open which
    assert abs(verdict.detection - 0.8) < 0.08
    assert not verdict.retired[looked < 2].any()
    assert verdict.retired[gone & (looked >= 3)].mean() > 0.85
    assert verdict.retired[~gone].mean() < 0.01
    nobody = Looks(tried=np.zeros(count, int), found=np.zeros(count, int))
    assert not judge(old, nobody, accident, xyz).retired.any()


def test_what_lies_behind_something_is_no_evidence() -> None:
    seen = np.stack(np.meshgrid(np.arange(0, 100, 10), np.arange(0, 100, 10)), -1).reshape(-1, 2)
    xy = np.array([[50.0, 50.0], [50.0, 50.0], [400.0, 50.0]])
    depth = np.array([5.0, 2.1, 5.0])
    told = hidden(xy, depth, seen.astype(float), np.full(len(seen), 2.0))
    assert told.tolist() == [True, False, False]
    assert not hidden(xy, depth, np.zeros((0, 2)), np.zeros(0)).any()


def test_new_points_of_an_int8_map_are_cut_not_wrapped() -> None:
    known, scale = quantise(np.array([[0.6, -0.8], [0.8, 0.6]], np.float32))
    assert np.abs(known).max() == 127
    assert in_steps(np.array([[1.0, 0.0], [0.0, -1.0]], np.float32), scale).tolist() == [
        [127, 0],
        [0, -127],
    ]


def test_a_map_of_tiles_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    city = tmp_path / "city"
    write_tiles(city, {"yard": DEMO / "map"}, name="city")
    for output in (city, tmp_path / "new"):
        assert call(city, tmp_path, output) == 1
        line = capsys.readouterr().err.strip()
        assert "a map of tiles, which this does not take" in line and "\n" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["city"]


def test_new_photos_get_a_folder_name_that_no_photo_has(tmp_path: Path) -> None:
    spec = open_bundle(DEMO / "map").manifest.features
    (tmp_path / "photos" / "update1").mkdir(parents=True)
    store = FeatureStore(tmp_path / "work", spec, images=tmp_path / "photos")
    assert [add_folder(store, tmp_path / name) for name in "aba"] == [
        "update2",
        "update3",
        "update2",
    ]
    sent = pickle.loads(pickle.dumps(store))  # as workers get it
    assert sent.photo("update3/x.jpg") == tmp_path / "b" / "x.jpg"


def test_a_map_of_parts_is_updated_part_by_part(tmp_path: Path) -> None:
    from edge_reloc.bundle import World, extend_bundle

    with extend_bundle(DEMO / "map", tmp_path / "map") as writer:
        writer.manifest.world = World(metric=True, parts={"a": (0, 0, 0), "b": (9, 0, 0)})
    with pytest.raises(EdgeRelocError, match="combined of a, b"):
        check_base(open_bundle(tmp_path / "map"))
