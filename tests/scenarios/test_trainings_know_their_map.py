"""Trainings go on with what is theirs, end with one line, and refuse what is another map's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

pytest.importorskip("torch")
pytest.importorskip("pycolmap")

import torch

from edge_reloc_export import map, train
from edge_reloc_export.identity import digest_of
from edge_reloc_export.scene.model import load_model, save_model
from tests.plane_world import make_plane_world, write_truth

PHOTOS = 10
LONGEST_S = 300.0  # until a training in a process of its own has begun


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corner's photos and poses, and maps of the first photos and of all."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("corner")
    world = make_plane_world(folder / "world", frames=PHOTOS)
    shutil.copytree(world.frames, folder / "data" / "images")
    write_truth(folder / "data" / "reference", world.cam_from_world)
    names = sorted(p.name for p in world.frames.iterdir())
    (folder / "few.txt").write_text("\n".join(names[: PHOTOS - 3]))
    (folder / "all.txt").write_text("\n".join(names))
    for name in ("few", "all"):
        make_map(folder, name, folder / name)
    return folder


def make_map(folder: Path, listing: str, output: Path) -> None:
    command = ["--images", folder / "data" / "images", "--poses", folder / "data" / "reference"]
    command += ["--features", "sift", "--keypoints", "600", "--metric", "--gps", "none"]
    command += ["--list", folder / f"{listing}.txt", "--output", output]
    assert map.main([str(c) for c in command]) == 0


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of all that."""
    shutil.copytree(made, tmp_path / "corner", copy_function=os.link)
    return tmp_path / "corner"


def options(bundle: Path, *more: str) -> list[str]:
    command = ["--map", str(bundle), "--head", "generative", "--device", "cpu"]
    return [*command, "--iterations", "20", "--samples", "50", *more]


@pytest.mark.parametrize(
    ("metric", "more", "line"),
    [
        (
            True,
            ("--preset", "paper"),
            "preset 'paper': is for maps whose photos DINOv2 embeds, this one's embedding is "
            "'vlad'; map with --embedding dinov2, or take 'paper_vlad'",
        ),
        (
            False,
            ("--preset", "paper_vlad"),
            "preset 'paper_vlad': its radius is 5 m, but the map is not metric; name one in map "
            "units with --radius",
        ),
    ],
)
def test_published_settings_ask_for_a_map_that_they_are_for(
    metric: bool,
    more: tuple[str, ...],
    line: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not metric:
        for path in (place / "few.work" / "packed.npz", place / "few.work" / "model.npz"):
            model = load_model(path)
            path.unlink()  # it is linked
            save_model(path, replace(model, metric=False))
    assert train.main(options(place / "few", *more)) == 1
    assert line in capsys.readouterr().err


def test_a_map_of_new_photos_is_trained_afresh(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle, work = place / "few", place / "few.work"
    assert train.main(options(bundle)) == 0
    assert not [m for m in caplog.messages if "starting afresh" in m]
    first = decoder(work)
    assert train.main(options(bundle)) == 0  # nothing changed: nothing is trained
    assert any("goes on from iteration 20 of 20" in m for m in caplog.messages)
    shutil.rmtree(bundle)
    make_map(place, "all", bundle)
    caplog.clear()
    assert train.main(options(bundle)) == 0
    afresh = [m for m in caplog.messages if "is of another map, schedule or version" in m]
    assert len(afresh) == 2  # of the shorter training and of the whole one
    assert decoder(work) != first


def decoder(work: Path) -> str:
    """What the trained network says, as a digest."""
    state = torch.load(work / "generative_quick_final.pt", weights_only=True)
    return digest_of(dict(state["network"]))


@pytest.mark.parametrize("method", ["visible_structure", "landmarks", "scene_coordinates"])
def test_the_work_folder_of_another_map_is_one_line(
    method: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--map", place / "few", "--work", place / "all.work", "--method", method]
    assert train.main([str(c) for c in command]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {place / 'all.work'}: of another map: its ")
    assert error.count("\n") == 1


def test_as_many_points_elsewhere_are_another_map(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "few.work" / "packed.npz"
    model = load_model(path)
    save_model(path, replace(model, xyz=model.xyz + [0.0, 0.0, 1e-3]))
    assert train.main(options(place / "few")) == 1
    assert "of another map" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["visible_structure", "landmarks", "scene_coordinates"])
def test_a_photo_that_changed_since_is_one_line(
    method: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, store = place / "data" / "images", place / "few.work" / "store.json"
    values = {**json.loads(store.read_text()), "images": str(images)}
    store.unlink()  # the copy is a link to what other tests need
    store.write_text(json.dumps(values))
    photo = sorted(images.iterdir())[2]
    image = cv2.imread(str(photo))
    photo.unlink()
    cv2.imwrite(str(photo), image[:, ::-1])
    command = ["--map", place / "few", "--method", method, "--iterations", "5"]
    assert train.main([str(c) for c in command]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {photo}: its keypoints are not those that the map was made")
    assert error.count("\n") == 1


def test_a_training_that_is_stopped_goes_on(place: Path) -> None:
    command = [sys.executable, "-m", "edge_reloc", "train", *options(place / "few")]
    command[command.index("20")] = "200000"

    def started() -> bool:
        """The first checkpoint is there, or not yet."""
        return (place / "few.work" / "generative_quick_tuning.pt").is_file()

    process = begun(command)
    wait_for(started, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 130, error
    last = error.splitlines()[-1]
    assert last.startswith("interrupted: iteration ") and "is kept in" in last, error
    assert "Traceback" not in error and "\r" not in error
    at = last.split()[2]
    again = begun(command)
    assert again.stderr is not None
    assert f"goes on from iteration {at} of" in again.stderr.readline()
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=LONGEST_S)
    assert again.returncode == 130


def begun(command: list[str]) -> subprocess.Popen[str]:
    """A program that hears Ctrl-C, also where the tests themselves run in the background."""
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LONGEST_S
    while not done():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
