"""Data sets in their published layouts: poses, cameras, splits, and what is said of bad ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_layouts import (
    COUNT,
    FOCAL,
    HEIGHT,
    LAYOUTS,
    MAPPED,
    WIDTH,
    aachen_v11,
    cambridge,
    euroc,
    indoor6,
    nerf,
    seven_scenes,
    truth,
    tum,
    twelve_scenes,
    wayspots,
)

from edge_reloc.errors import ConfigError, EdgeRelocError
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc_export.datasets.prepare import prepare
from edge_reloc_export.datasets.table import DATASETS, open_dataset

WRITTEN = 1e-7  # of poses that are written with nine digits
T_NS = 1403715273262142976  # of the first frame of EuRoC's layout
NIGHT = "night_time_queries_with_intrinsics.txt"
KEPT_BACK = {"aachen_v10", "aachen_v11"}
OTHER_LENS = {"seven_scenes": 525.0, "tum": 517.3}


def test_every_reader_has_a_layout(tmp_path: Path) -> None:
    kinds = {write(tmp_path / name).partition(":")[0] for name, write in LAYOUTS.items()}
    assert kinds | {"ace"} == set(DATASETS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_poses_and_cameras_are_those_of_the_frames(name: str, tmp_path: Path) -> None:
    scene = open_dataset(LAYOUTS[name](tmp_path))
    assert [len(scene.mapping), len(scene.queries)] == [MAPPED, COUNT - MAPPED]
    for index, shot in enumerate((*scene.mapping, *scene.queries)):
        if index >= MAPPED and name in KEPT_BACK:
            assert shot.cam_from_world is None
        else:
            assert shot.cam_from_world is not None
            np.testing.assert_allclose(shot.cam_from_world, truth(index), atol=WRITTEN)
        camera = shot.camera
        assert (camera.width, camera.height) == (WIDTH, HEIGHT)
        assert camera.fx == pytest.approx(OTHER_LENS.get(name, FOCAL))
        if name != "tum":
            assert (camera.cx, camera.cy) == (WIDTH / 2 - 0.5, HEIGHT / 2 - 0.5)
        assert shot.path.is_file()


@pytest.mark.parametrize("name", ["seven_scenes", "nerf", "aachen_v11"])
def test_a_scene_in_this_projects_layout(name: str, tmp_path: Path) -> None:
    scene = open_dataset(LAYOUTS[name](tmp_path / "published"))
    for _ in range(2):  # a second time changes nothing
        prepare(scene, tmp_path / "ours")
    facts = json.loads((tmp_path / "ours" / "dataset.json").read_text())
    assert facts["scored"] == (name not in KEPT_BACK) and facts["metric"] == (name != "nerf")
    mapped = (tmp_path / "ours" / "mapping.txt").read_text().split()
    assert mapped == [shot.name for shot in scene.mapping]
    if not facts["scored"]:
        return
    dataset = read_dataset(tmp_path / "ours")
    for query, shot in zip(dataset.queries, scene.queries, strict=True):
        assert query.name == shot.name and query.camera == shot.camera
        assert query.path.resolve() == shot.path
        np.testing.assert_allclose(query.cam_from_world, shot.cam_from_world, atol=1e-12)


def test_another_sequence_by_a_path_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = open_dataset(tum(Path()))
    prepare(scene, Path("ours"))
    for shot in (*scene.mapping, *scene.queries):
        assert (tmp_path / "ours" / "images" / shot.name).is_file()


def test_a_digest_tells_poses_apart(tmp_path: Path) -> None:
    first = open_dataset(nerf(tmp_path / "published"))
    shot = first.queries[0]
    moved = replace(shot, cam_from_world=truth(COUNT))
    second = replace(first, queries=[moved, *first.queries[1:]])
    told = [prepare(scene, tmp_path / "ours") for scene in (first, first, second)]
    assert told[0] == told[1] != told[2]


def spoil(path: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).write_text(text)

    return write


def remove(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


@pytest.mark.parametrize(
    ("layout", "damage", "words"),
    [
        (seven_scenes, remove("chess/TestSplit.txt"), "TestSplit.txt: not found"),
        (
            seven_scenes,
            spoil("chess/TestSplit.txt", "sequence9\n"),
            "seq-09: not found; unpack the archive",
        ),
        (
            seven_scenes,
            spoil("chess/seq-01/frame-000000.pose.txt", "1 2 3\n"),
            "expected a pose, three or four rows",
        ),
        (
            seven_scenes,
            spoil("chess/seq-01/frame-000000.pose.txt", "2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n"),
            "the columns of a rotation",
        ),
        (
            seven_scenes,
            spoil("chess/seq-01/frame-000000.color.png", "no picture"),
            "does not tell the size",
        ),
        (cambridge, spoil("KingsCollege/reconstruction.nvm", "NVM_V3\n\n9\n"), "0 cameras, expect"),
        (cambridge, spoil("KingsCollege/dataset_test.txt", "a\nb\nc\nx.png 1 2\n"), "test.txt:4: "),
        (wayspots, remove("bears/test/poses/00005.txt"), "2, 1, 2 files in rgb, poses and calib"),
        (tum, spoil("rgbd_dataset_freiburg1_desk/rgb.txt", "now rgb/a.png\n"), "a time in seconds"),
        (
            tum,
            spoil("rgbd_dataset_freiburg1_desk/rgb.txt", "1305031102.175304\n"),
            "time photo",
        ),
        (tum, spoil("rgbd_dataset_freiburg1_desk/groundtruth.txt", "#\n"), "found 0 photos to map"),
        (euroc, spoil("V1_01_easy/mav0/cam0/data.csv", "now,a.png\n"), "a time in nanoseconds"),
        (euroc, spoil("V1_01_easy/mav0/cam0/data.csv", f"{T_NS}\n"), "expected time,photo"),
        (twelve_scenes, spoil("apt1/kitchen/split.txt", ""), "split.txt: empty"),
        (wayspots, spoil("bears/test/calibration/00005.txt", ""), "0 lines, expected one or three"),
        (aachen_v11, spoil(f"aachen/queries/{NIGHT}", "b.jpg PINHOLE\n"), "expected name MODEL"),
        (nerf, spoil("fox/transforms_test.json", "{}"), "not a transforms.json"),
        (indoor6, spoil("scene1/train_test_val.pkl", "x"), "not the lists of names"),
    ],
)
def test_what_is_said_of_a_wrong_layout(
    layout: Callable[[Path], str],
    damage: Callable[[Path], None],
    words: str,
    tmp_path: Path,
) -> None:
    address = layout(tmp_path)
    damage(tmp_path)
    with pytest.raises(EdgeRelocError, match=words):
        open_dataset(address)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    address = indoor6(tmp_path)
    (tmp_path / "scene1" / "train_test_val.pkl").write_bytes(pickle.dumps({"train": Evil()}))
    with pytest.raises(EdgeRelocError, match="it asks for"):
        open_dataset(address)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("8scenes:x", "expected one of 7scenes:FOLDER"),
        ("chess", "expected one of"),
        ("7scenes:/nowhere/chess", "no such folder; download"),
        ("7scenes:/tmp?split=3", "option 'split=3' is not known"),
        ("colmap:/tmp?metric=perhaps", "expected yes or no"),
        ("colmap:/tmp?thresholds=close", "expected for example 5cm/5deg"),
        ("colmap:/tmp?metric=no&thresholds=5cm/5deg", "threshold '5cm/5deg': /tmp is not metric"),
    ],
)
def test_addresses(address: str, words: str) -> None:
    with pytest.raises((ConfigError, EdgeRelocError), match=words):
        open_dataset(address)
