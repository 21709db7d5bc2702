"""Photos mapped in tiles: through deaths the same city, by any workers the same map."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.running.demo import demo_folder
from edge_reloc.tiles.index import open_tiles
from edge_reloc_export.city import training
from edge_reloc_export.city.tiled_map import LISTING
from edge_reloc_export.training.report import TrainingReport
from edge_reloc_export.training.table import TRAININGS

Program = Callable[..., CompletedProcess[str]]

PHOTOS, TILE = 26, 20
FEATURES = ("--features", "sift", "--keypoints", "200")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk through the courtyard."""
    folder = tmp_path_factory.mktemp("walk")
    for path in sorted((demo_folder() / "frames").iterdir())[:PHOTOS]:
        shutil.copy(path, folder)
    return folder


def _arguments(photos: Path, output: Path) -> list[str]:
    truth = ["--poses", str(demo_folder() / "truth"), "--metric"]
    return ["map", "--images", str(photos), *truth, *FEATURES, "--output", str(output)]


def _digest(folder: Path) -> str:
    """Of all files of a map."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_a_city_is_the_same_by_any_workers_and_through_a_driver_s_death(
    photos: Path, tmp_path: Path, edge_reloc: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, alone = tmp_path / "killed" / "city", tmp_path / "alone" / "city"
    in_tiles = ["--tile-photos", str(TILE), "--cluster"]
    command = [*_arguments(photos, killed), *in_tiles, "local:2"]
    driver = subprocess.Popen([sys.executable, "-m", "edge_reloc", *command], stderr=-1)
    placed = killed.with_name("city.work") / "tiles"
    deadline = time.monotonic() + 120
    while not list(placed.glob("placed-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    driver.kill()
    driver.communicate()
    assert not killed.exists()
    done = {path: path.stat().st_mtime_ns for path in placed.glob("placed-*.npz")}
    assert done
    again = edge_reloc(*command)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == done  # not made again
    whole = edge_reloc(*_arguments(photos, alone), *in_tiles, "local:1")
    assert whole.returncode == 0, whole.stderr
    assert _digest(killed) == _digest(alone)
    _city_holds_together(alone)
    _tiles_are_trained_once(alone, monkeypatch)


def _city_holds_together(city: Path) -> None:
    tiled = open_tiles(city)
    assert len(tiled.tiles) == 2 and tiled.world.metric
    folders = json.loads((city.with_name(f"{city.name}.work") / LISTING).read_text())
    assert sorted(folders) == [tile.name for tile in tiled.tiles]
    for tile in tiled.tiles:
        bundle = open_bundle(city / "tiles" / tile.name, verify=True)
        assert tile.photos <= TILE and tile.points > 200
        assert bundle.manifest.integrity is not None


class Here:
    """Runs units at once, in this process."""

    def submit(self, unit: Callable[..., Any], *arguments: Any, **resources: float) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(unit(*arguments))
        return future


class Report(TrainingReport):
    FILE = "named.json"

    def summary(self) -> str:
        return "learnt its name"


def _tiles_are_trained_once(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a training that writes a bundle's name, and is killed once before the index is written."""
    trained = []

    def train(options: argparse.Namespace, work: Path) -> Report:
        trained.append(work.name)
        with extend_bundle(options.map) as writer:
            writer.manifest.name = "trained"
        return Report()

    monkeypatch.setitem(TRAININGS, "landmarks", SimpleNamespace(train=train))
    work = city.with_name(f"{city.name}.work")
    options = argparse.Namespace(map=city, work=None, method="landmarks", device="cpu")
    before = _digest(city)
    with monkeypatch.context() as patched:
        patched.setattr(training, "write_tiles", None)  # as if killed there
        with pytest.raises(TypeError):
            training.train_city(options, work, Here())
    assert _digest(city) == before and len(set(trained)) == 2
    told = training.train_city(options, work, Here())
    assert told == ["tile000: learnt its name", "tile001: learnt its name"]
    assert len(trained) == 2  # not again
    names = [open_bundle(city / "tiles" / t.name).manifest.name for t in open_tiles(city).tiles]
    assert names == ["trained", "trained"]


def test_a_map_is_the_same_with_and_without_workers(
    photos: Path, tmp_path: Path, edge_reloc: Program
) -> None:
    one, several = tmp_path / "one" / "m", tmp_path / "several" / "m"
    assert edge_reloc(*_arguments(photos, one)).returncode == 0
    assert edge_reloc(*_arguments(photos, several), "--cluster", "local:2").returncode == 0
    assert _digest(one) == _digest(several)


def test_what_a_city_cannot_replace_is_told_before_the_work(
    photos: Path, tmp_path: Path, edge_reloc: Program
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "letter.txt").write_text("dear")
    refused = edge_reloc(*_arguments(photos, tmp_path / "there"), "--tile-photos", "20")
    assert refused.returncode == 1 and "not a map of tiles" in refused.stderr
    assert not (tmp_path / "there.work").exists()
