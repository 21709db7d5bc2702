"""Maps of tiles from the programs: made, shown, localised in, planned and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from courtyard import courtyard
from tiled_yard import PARTS, tiled_yard

from edge_reloc.running.demo import DEMO
from edge_reloc_export import combine

Program = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiled_yard(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for frame in sorted((DEMO / "frames").iterdir())[::20]:
        shutil.copy(frame, folder)
    return folder


def test_maps_of_one_world_become_tiles(city: Path, tmp_path: Path) -> None:
    maps = [city.parent / name for name in PARTS]
    output = tmp_path / "again"
    done = combine.main(["--tiles", "--maps", *map(str, maps), "--output", str(output)])
    assert done == 0
    assert json.loads((output / "tiles.json").read_text())["name"] == "again"
    assert sorted(p.name for p in (output / "tiles").iterdir()) == sorted(PARTS)


def test_run_and_evaluate_take_tiles(
    edge_reloc: Program, city: Path, photos: Path, tmp_path: Path
) -> None:
    camera = ("--calibration", DEMO / "camera.json", "--threads", "1")
    done = edge_reloc(
        *("run", "--map", city, "--source", photos, *camera, "--resident-tiles", "2"),
        *("--output", "poses.jsonl", "--picture", "run.png"),
    )
    assert done.returncode == 0, done.stderr
    assert "3 tiles, 2 in memory" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["OK"] * 4
    assert (tmp_path / "run.png").is_file()
    data = courtyard(tmp_path, every=40)
    scored = edge_reloc(
        *("evaluate", "--map", city, "--data", data, "--methods", "cells+2", "--threads", "1"),
        "--json",
    )
    assert scored.returncode == 0, scored.stderr
    errors = json.loads(scored.stdout)["scores"][0]["errors"]
    assert [row[1] for row in errors] == ["OK", "OK"]


def test_inspect_and_doctor_show_tiles_and_their_memory(edge_reloc: Program, city: Path) -> None:
    shown = edge_reloc("inspect", city, "--memory", "--verify")
    assert shown.returncode == 0, shown.stderr
    for words in ("map        yard, 3 tiles", "west", "slot 3", "every file of every tile"):
        assert words in shown.stdout
    values = json.loads(edge_reloc("inspect", city, "--json").stdout)
    assert [tile["name"] for tile in values["tiles"]] == list(PARTS)
    checked = edge_reloc("doctor", "--map", city)
    assert "3 tiles" in checked.stdout and "tiles: slot 1" in checked.stdout


def test_over_budget_is_refused_with_the_table(
    edge_reloc: Program, city: Path, photos: Path
) -> None:
    done = edge_reloc(
        *("run", "--map", city, "--source", photos, "--calibration", DEMO / "camera.json"),
        *("--budget", "64MiB", "--threads", "1"),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "--budget 64MiB" in done.stderr and "; tiles " in done.stderr
