"""Photos and videos of a phone that was held every way, from the map to the pose.

The corner of `plane_world` is seen by a phone: what is upright to the eye lies in its sensor's
rows turned, and EXIF says how. Poses belong to those rows, as COLMAP reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import plane_world
import pytest
from demo_stages import open_demo
from photo_files import TURNS, flag_rotation, write_photo, write_video

import edge_reloc
from edge_reloc.geometry.rigid import so3_exp
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, write_model_text
from edge_reloc_export import map as map_program

MAPPED = np.linspace(0, 1, 7)  # places along the path
HELD_OUT = (0.25, 0.6, 0.9)
LEAST_DISTANCE_M = 0.03  # and rotation: those of maps with exact poses are usually below 0.02
SAME_POSE = 2e-3  # metres and of a rotation's entries: the solver draws its own samples
EXIF_OF = {0: 1, 2: 3, 3: 6, 1: 8}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A photo in its sensor's rows."""

    image: np.ndarray
    cam_from_world: np.ndarray
    camera: edge_reloc.Camera


def shoot(along: float, turns: int) -> Shot:
    """What a phone sees that is held so that `turns` show its picture upright."""
    cam_from_world = plane_world.pose(along)
    upright = plane_world.render([plane_world._texture(seed) for seed in (1, 2)], cam_from_world)
    roll = np.eye(4)
    roll[:3, :3] = np.linalg.matrix_power(so3_exp(np.array([0.0, 0.0, np.pi / 2])), turns)
    camera = plane_world.CAMERA
    if turns % 2:  # square pixels and the centre in the middle: only the sides change
        sides = {"width": camera.height, "height": camera.width}
        camera = replace(camera, **sides, cx=camera.cy, cy=camera.cx)
    return Shot(
        image=np.ascontiguousarray(np.rot90(upright, -turns)),
        cam_from_world=roll @ cam_from_world,
        camera=camera,
    )


def map_of(folder: Path, shots: dict[str, Shot], orientation: int, *options: object) -> Path:
    """A map bundle of photos with known poses."""
    (folder / "photos").mkdir(parents=True)
    for name, shot in shots.items():
        write_photo(folder / "photos" / name, shot.image, orientation)
    images = [
        ColmapImage(name=name, camera_id=1, cam_from_world=shot.cam_from_world)
        for name, shot in shots.items()
    ]
    (camera, *_) = [shot.camera for shot in shots.values()]
    write_model_text(folder / "model", ColmapModel(cameras={1: camera}, images=images, points={}))
    given = ["--images", folder / "photos", "--output", folder / "map", "--poses", folder / "model"]
    given += ["--metric", "--keypoints", 600, *options]
    assert map_program.main([str(a) for a in given]) == 0
    return folder / "map"


def distance_m(found: edge_reloc.Localization, shot: Shot) -> float:
    """From the true camera; infinite without a pose."""
    if found.cam_from_world is None:
        return np.inf
    error = found.cam_from_world @ np.linalg.inv(shot.cam_from_world)
    return float(np.linalg.norm(error[:3, 3]) + np.linalg.norm(error[:3, :3] - np.eye(3)))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_model_of_colmap_fits_photos_with_any_exif(tmp_path: Path, orientation: int) -> None:
    shots = {f"{n}.jpg": shoot(along, TURNS[orientation]) for n, along in enumerate(MAPPED)}
    bundle = map_of(tmp_path, shots, orientation, "--features", "sift")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert not manifest["features"]["turns"]
    gravity = np.array(manifest["world"]["gravity"])
    with edge_reloc.open(bundle) as localizer:
        for along in HELD_OUT:
            shot = shoot(along, TURNS[orientation])
            assert distance_m(localizer.localize(shot.image), shot) < LEAST_DISTANCE_M
    # The camera looks some 25 degrees down: photos upright by EXIF tell the vertical roughly.
    assert gravity[2] < -0.8


@pytest.mark.parametrize("turns", [3, 2])
def test_a_phones_own_photos_and_video_are_localised_without_an_option(
    tmp_path: Path, turns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    shots = {f"{n}.jpg": shoot(along, turns) for n, along in enumerate(MAPPED)}
    bundle = map_of(tmp_path, shots, EXIF_OF[turns])
    assert json.loads((bundle / "manifest.json").read_text())["features"]["turns"]
    held = {f"{n}.jpg": shoot(along, turns) for n, along in enumerate(HELD_OUT)}
    for folder, orientation in (("exif", EXIF_OF[turns]), ("none", None), ("wrong", 1)):
        (tmp_path / folder).mkdir()
        for name, shot in held.items():
            write_photo(tmp_path / folder / name, shot.image, orientation)
    video = tmp_path / "phone.mp4"
    write_video(video, [cv2.cvtColor(s.image, cv2.COLOR_GRAY2BGR) for s in held.values()], 10)
    flag_rotation(video, -90 * turns % 360)
    with edge_reloc.open(bundle) as localizer:
        for source in ("exif", "none", "wrong", "phone.mp4"):
            frames = edge_reloc.open_source(tmp_path / source, localizer.camera)
            for frame, shot in zip(frames, held.values(), strict=True):
                assert distance_m(localizer.localize(frame), shot) < LEAST_DISTANCE_M, source
        # Held the other way round, at another half turn, with nothing that tells.
        shot = shoot(HELD_OUT[0], (turns + 2) % 4)
        assert distance_m(localizer.localize(shot.image), shot) < LEAST_DISTANCE_M


def test_exif_turns_frames_also_where_no_mapping_photo_was_turned(tmp_path: Path) -> None:
    demo = open_demo()
    assert not demo.spec.turns
    image, camera = demo.frame.image, demo.camera
    k1, k2, p1, p2, *rest = camera.distortion
    on_its_head = replace(
        camera,
        cx=camera.width - 1 - camera.cx,
        cy=camera.height - 1 - camera.cy,
        distortion=(k1, k2, -p1, -p2, *rest),
    )
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    for name, orientation in (("said.png", 3), ("unsaid.png", 1)):
        write_photo(tmp_path / name, np.ascontiguousarray(np.rot90(image, 2)), orientation)
    with edge_reloc.open(demo.bundle.directory, camera) as localizer:
        upright = localizer.localize(demo.frame)
        assert upright.ok
    with edge_reloc.open(demo.bundle.directory, on_its_head) as localizer:
        said = localizer.localize(tmp_path / "said.png")
        assert said.cam_from_world is not None and said.inliers == upright.inliers
        expected = half_turn @ upright.cam_from_world
        np.testing.assert_allclose(said.cam_from_world, expected, atol=SAME_POSE)
        assert localizer.localize(tmp_path / "unsaid.png").inliers < upright.inliers
