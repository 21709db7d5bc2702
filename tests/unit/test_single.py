"""A map of one method alone gives the poses of the whole map, and holds nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_reloc
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.sources import open_source

pytest.importorskip("torch")

from edge_reloc_export import export_single as to_single

DEMO = Path(edge_reloc.__file__).parent / "demo"
USAC_M = 1e-4  # it was seen to differ by 0.04 mm
METHODS = [
    ("exhaustive", None),
    ("image_retrieval", None),
    ("visible_structure", "cells"),
    ("visible_structure", "generative"),
    ("landmarks", None),
    ("scene_coordinates", None),
]


def single(output: Path, method: str, head: str | None, source: Path = DEMO / "map") -> int:
    command = ["--map", str(source), "--output", str(output), "--method", method]
    return to_single.main(command + (["--head", head] if head else []))


@pytest.mark.parametrize(("method", "head"), METHODS)
def test_the_poses_are_the_same(method: str, head: str | None, tmp_path: Path) -> None:
    assert single(tmp_path / "small", method, head) == 0
    small = open_bundle(tmp_path / "small", verify=True)
    assert small.nbytes() < 0.8 * open_bundle(DEMO / "map").nbytes()
    camera = read_camera(DEMO / "camera.json")
    frame = next(iter(open_source(str(DEMO / "frames"), camera)))
    poses = []
    for bundle, settings in (
        (open_bundle(DEMO / "map"), Settings(method=method, head=head, threads=1)),
        (small, Settings(threads=1)),  # its own defaults
    ):
        opened = Localizer.open(bundle, camera, settings)
        poses.append(opened.localize(frame).estimate.cam_from_world)
        opened.close()
    assert poses[0] is not None and poses[1] is not None
    # Not to the bit: OpenCV's USAC ends its sampling by how long that takes.
    assert pose_error(poses[0], poses[1]).translation < USAC_M
    assert small.used == set(small.manifest.files)


def test_what_cannot_be_kept_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with extend_bundle(DEMO / "map", tmp_path / "bare") as writer:
        writer.manifest.cameras = {}
        del writer.manifest.methods["landmarks"]
    assert single(tmp_path / "small", "exhaustive", None, tmp_path / "bare") == 1
    assert "names no mapping camera" in capsys.readouterr().err
    assert single(tmp_path / "small", "nearest", None) == 1
    assert "method: found 'nearest', expected one of exhaustive" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
