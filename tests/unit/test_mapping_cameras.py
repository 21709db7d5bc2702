"""Which of a map's cameras stands for one that was not calibrated."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_reloc import inspect, run
from edge_reloc.bundle import open_bundle
from edge_reloc.bundle.mapping_cameras import fitting_camera, mapping_cameras, unlike_mapping
from edge_reloc.bundle.reader import MapBundle
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import read_camera, write_camera
from edge_reloc.running.demo import DEMO


@pytest.fixture
def bundle(tmp_path: Path) -> MapBundle:
    """The demo's map as if a second camera of twice the size had taken part."""
    shutil.copytree(DEMO / "map", tmp_path / "map")
    path = tmp_path / "map" / "manifest.json"
    values = json.loads(path.read_text())
    camera = next(iter(mapping_cameras(open_bundle(tmp_path / "map")).values()))
    values["cameras"] = {
        "small": camera.to_dict(),
        "large": replace(camera.scaled_to(1280, 960), fx=1200.0).to_dict(),
    }
    path.write_text(json.dumps(values))
    return open_bundle(tmp_path / "map")


def test_the_one_of_the_frames_size_is_taken(bundle: MapBundle) -> None:
    assert fitting_camera(bundle, 640, 480)[1] == "small"
    assert fitting_camera(bundle, 1280, 960)[1] == "large"


def test_a_choice_is_the_users(bundle: MapBundle) -> None:
    with pytest.raises(CameraError, match=r"2 cameras \(small 640x480 482 px, large .*inspect MAP"):
        fitting_camera(bundle, 320, 240)
    bundle.manifest.cameras["tele"] = {**bundle.manifest.cameras["small"], "fx": 900.0}
    with pytest.raises(CameraError, match=r"2 of them are of the frames' 640x480"):
        fitting_camera(bundle, 640, 480)


def test_run_takes_the_one_that_fits(bundle: MapBundle, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--map", str(bundle.directory), "--source", str(DEMO / "frames"), "--frames", "2"]
    assert run.main([*argv, "--threads", "1"]) == 0
    assert "mapping camera 'small'" in capsys.readouterr().out


def test_a_calibration_unlike_the_maps_is_told(
    bundle: MapBundle, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    camera = read_camera(DEMO / "camera.json")
    assert unlike_mapping(bundle, camera) is None
    assert unlike_mapping(bundle, replace(camera, fx=1.02 * camera.fx)) is None
    bent = replace(camera, fx=1.6 * camera.fx, fy=1.6 * camera.fy)
    told = unlike_mapping(bundle, bent)
    assert told is not None and "771 px" in told and "482 px ('small'" in told
    write_camera(tmp_path / "bent.json", bent)
    argv = ["--map", str(bundle.directory), "--source", str(DEMO / "frames"), "--frames", "1"]
    with caplog.at_level(logging.WARNING):
        run.main([*argv, "--threads", "1", "--calibration", str(tmp_path / "bent.json")])
    assert "one of them is wrong" in caplog.text


def test_inspect_writes_a_camera_file(
    bundle: MapBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect.main(["--map", str(bundle.directory), "--camera", "large"]) == 0
    (tmp_path / "camera.json").write_text(capsys.readouterr().out)
    assert read_camera(tmp_path / "camera.json") == mapping_cameras(bundle)["large"]
    assert inspect.main([str(bundle.directory), "--camera", "none"]) == 1
    assert "expected one of small, large" in capsys.readouterr().err
