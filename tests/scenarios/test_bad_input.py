"""What goes wrong in users' hands: one clear line, the right exit code."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
from plane_world import CAMERA, PlaneWorld

from edge_reloc.bundle import extend_bundle
from edge_reloc.geometry.camera import write_camera

Program = Callable[..., CompletedProcess[str]]


def fails(done: CompletedProcess[str], *words: str) -> None:
    """Exit 1 and exactly one line, which says all of `words`."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], f"'{word}' is not in: {lines[0]}"


def misused(done: CompletedProcess[str], *words: str) -> None:
    """Exit 2 and a usage message."""
    assert done.returncode == 2, done.stderr
    for word in ("usage:", *words):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_bundle(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", "nowhere", "--source", corner.frames)
    fails(done, "nowhere", "no such map bundle", "edge-reloc map")


def test_folder_that_is_no_bundle(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", corner.frames, "--source", corner.frames)
    fails(done, "not a map bundle", "manifest.json is missing")


def test_damaged_bundle(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(corner.bundle, tmp_path / "map"))
    data = (bundle / "points/xyz.npy").read_bytes()
    (bundle / "points/xyz.npy").write_bytes(data[:-100])
    done = edge_reloc("run", "--map", bundle, "--source", corner.frames)
    fails(done, "points/xyz.npy", f"found {len(data) - 100} bytes", f"expected {len(data)}")


def test_flipped_bit(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(corner.bundle, tmp_path / "map"))
    data = bytearray((bundle / "points/xyz.npy").read_bytes())
    data[-1] ^= 0x40
    (bundle / "points/xyz.npy").write_bytes(bytes(data))
    assert edge_reloc("inspect", bundle).returncode == 0
    fails(edge_reloc("inspect", bundle, "--verify"), "points/xyz.npy", "sha256", "damaged")


def test_newer_format(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(corner.bundle, tmp_path / "map"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["version"] = [9, 1]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    for done in (
        edge_reloc("run", "--map", bundle, "--source", corner.frames),
        edge_reloc("inspect", bundle),
    ):
        fails(done, "9.1 is newer", "upgrade edge_reloc")


def test_wrong_descriptor_size(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(corner.bundle, tmp_path / "map"))
    with extend_bundle(bundle) as writer:
        points = np.load(bundle / "points/descriptors.npy")
        writer.add_array("points/descriptors.npy", points[:, :64])
    done = edge_reloc("run", "--map", bundle, "--source", corner.frames)
    fails(done, "points/descriptors.npy", ", 64)", ", 128), which is (P,D)", "copy the bundle")


def test_no_camera(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", corner.bundle, "--camera", "97")
    fails(done, "/dev/video97")


def test_empty_folder(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = edge_reloc("run", "--map", corner.bundle, "--source", tmp_path / "empty")
    fails(done, "empty", "no photos")


def test_missing_source(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", corner.bundle, "--source", "gone.mp4")
    fails(done, "gone.mp4")


def test_missing_list(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", corner.bundle, "--list", corner.frames / "gone.txt")
    fails(done, "gone.txt")


def test_unreadable_photo_among_good_ones(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(corner.frames / "000.png", folder / "a.png")
    (folder / "b.png").write_bytes(b"not a picture")
    shutil.copy(corner.frames / "001.png", folder / "c.png")
    done = edge_reloc("run", "--map", corner.bundle, "--source", folder, "--output", "p.jsonl")
    assert done.returncode == 0, done.stderr
    assert "skipped b.png" in done.stderr
    assert "localised 2 (100.0 %)" in done.stdout
    assert "unreadable 1" in done.stdout
    names = [json.loads(line)["name"] for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert names == ["a.png", "c.png"]


@pytest.mark.parametrize("name", ["poses.csv", "poses"])
def test_wrong_suffix(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path, name: str) -> None:
    done = edge_reloc("run", "--map", corner.bundle, "--source", corner.frames, "--output", name)
    fails(done, name, ".jsonl, .tum")
    assert not (tmp_path / name).exists()


def test_output_into_no_folder(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc(
        "run", "--map", corner.bundle, "--source", corner.frames, "--output", "gone/poses.jsonl"
    )
    fails(done, "gone", "no folder")


def test_full_disk_prints_the_summary_first(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full exists only on Linux")
    (tmp_path / "poses.jsonl").symlink_to("/dev/full")
    done = edge_reloc(
        "run", "--map", corner.bundle, "--source", corner.frames, "--output", "poses.jsonl"
    )
    fails(done, "poses.jsonl", "No space left on device")
    assert re.search(r"^frames +\d", done.stdout, re.MULTILINE)


def test_picture_with_a_wrong_suffix(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc(
        "run", "--map", corner.bundle, "--source", corner.frames, "--picture", "run.pdf"
    )
    fails(done, "run.pdf", ".png")


def test_unknown_method(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", corner.bundle, "--source", corner.frames, "--method", "magic")
    fails(done, "'magic'", "exhaustive")


def test_method_that_the_map_was_not_trained_for(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc(
        "run", "--map", corner.bundle, "--source", corner.frames, "--method", "visible_structure"
    )
    fails(done, "edge-reloc train")


def test_calibration_missing(edge_reloc: Program, corner: PlaneWorld) -> None:
    arguments = ("run", "--map", corner.bundle, "--source", corner.frames, "--calibration")
    fails(edge_reloc(*arguments, "gone.json"), "gone.json", "edge-reloc calibrate")


def test_calibration_malformed(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    (tmp_path / "camera.json").write_text('{"fx": 1}')
    arguments = ("run", "--map", corner.bundle, "--source", corner.frames, "--calibration")
    fails(edge_reloc(*arguments, "camera.json"), "camera.json", "'height'")


def test_calibration_for_another_aspect(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    write_camera(tmp_path / "camera.json", replace(CAMERA, height=270))
    arguments = ("run", "--map", corner.bundle, "--source", corner.frames, "--calibration")
    fails(edge_reloc(*arguments, "camera.json"), "480x270", "480x360", "aspect")


def test_calibration_for_another_resolution_is_scaled(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    write_camera(tmp_path / "camera.json", CAMERA.scaled_to(960, 720))
    done = edge_reloc(
        *("run", "--map", corner.bundle, "--source", corner.frames, "--calibration", "camera.json"),
        *("--frames", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "480x360, focal length 420.0 px, from camera.json" in done.stdout
    assert "localised 2 (100.0 %)" in done.stdout


def test_two_mapping_cameras_and_no_calibration(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(corner.bundle, tmp_path / "map"))
    with extend_bundle(bundle) as writer:
        writer.manifest.cameras["zoom"] = replace(CAMERA, fx=900, fy=900).to_dict()
    done = edge_reloc("run", "--map", bundle, "--source", corner.frames)
    fails(done, "2 cameras (render 480x360 420 px, zoom 480x360 900 px)", "--calibration")


def test_mapping_camera_does_not_fit_the_frames(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    (tmp_path / "square").mkdir()
    cv2.imwrite(str(tmp_path / "square/a.png"), np.zeros((300, 300), np.uint8))
    done = edge_reloc("run", "--map", corner.bundle, "--source", tmp_path / "square")
    fails(done, "480x360", "300x300")


def test_unknown_program(edge_reloc: Program) -> None:
    done = edge_reloc("fly")
    misused(done, "no program 'fly'", "calibrate")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--map", "x"),
        ("--map", "x", "--demo"),
        ("--demo", "--source", "y"),
        ("--map", "x", "--source", "y", "--camera", "0"),
        ("--map", "x", "--source", "y", "--frames", "0"),
        ("--map", "x", "--source", "y", "--head", "magic"),
        ("--map", "x", "--source", "y", "--nonsense"),
    ],
)
def test_options_that_make_no_sense(edge_reloc: Program, arguments: tuple[str, ...]) -> None:
    misused(edge_reloc("run", *arguments), "edge-reloc run")


def test_no_map_is_named_and_there_is_none(edge_reloc: Program) -> None:
    fails(edge_reloc("run", "--source", "y"), "which map?", "--map DIR or EDGE_RELOC_MAP")


def test_a_settings_file_with_an_unknown_key(edge_reloc: Program, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("min_inlier = 20\n")
    fails(edge_reloc("run", "--demo", "--settings", "s.toml"), "did you mean 'min_inliers'?")


def test_inspect_of_nothing(edge_reloc: Program) -> None:
    fails(edge_reloc("inspect", "nowhere"), "no such map bundle")
