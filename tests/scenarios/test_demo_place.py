"""The shipped courtyard: what a user sees, and what must never be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge_reloc
from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.reference.colmap import read_model
from edge_reloc.sources import open_source
from edge_reloc.structs import Frame, Status

DEMO = Path(edge_reloc.__file__).parent / "demo"
CAMERA = read_camera(DEMO / "camera.json")
TRUTH = {image.name: image.cam_from_world for image in read_model(DEMO / "truth").images}

LOCALISED, MEDIAN_M, MEDIAN_DEG = 0.99, 0.01, 0.2  # what the README promises
# The same of scene coordinates: a view that their network hardly knows (3 of the 80 frames, which
# were 9 to 16 cm off) has no pose.
REGRESSED, REGRESSED_M, REGRESSED_DEG = 0.95, 0.05, 1.0
LARGEST = 12_000_000  # bytes: it ships in every wheel


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer.open(open_bundle(DEMO / "map"), CAMERA)


@pytest.fixture(scope="module")
def regressor() -> Localizer:
    return Localizer.open(
        open_bundle(DEMO / "map"), CAMERA, Settings(method="scene_coordinates", threads=1)
    )


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(open_source(str(DEMO / "frames"), CAMERA))


def test_the_demo_is_small() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < LARGEST


@pytest.mark.parametrize(
    ("method", "localised", "median_m", "median_deg"),
    [
        ([], LOCALISED, MEDIAN_M, MEDIAN_DEG),
        (["--method", "landmarks"], LOCALISED, MEDIAN_M, MEDIAN_DEG),
        (["--method", "scene_coordinates"], REGRESSED, REGRESSED_M, REGRESSED_DEG),
    ],
    ids=["default", "landmarks", "scene_coordinates"],
)
def test_run_demo_localises_as_promised(
    method: list[str], localised: float, median_m: float, median_deg: float, tmp_path: Path
) -> None:
    poses = tmp_path / "poses.jsonl"
    command = [sys.executable, "-m", "edge_reloc.run", "--demo", "--json", "--output", str(poses)]
    command += method
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in poses.read_text().splitlines()]
    errors = np.array(
        [
            pose_error(np.array(line["cam_from_world"]), TRUTH[line["name"]])
            for line in lines
            if line["status"] == "OK"
        ]
    )
    assert len(lines) == len(list((DEMO / "frames").iterdir()))
    assert len(errors) > localised * len(lines)
    assert np.median(errors[:, 0]) < median_m
    assert np.median(errors[:, 1]) < median_deg
    assert errors[:, 0].max() < 10 * median_m
    assert "torch" not in done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        Settings(method="exhaustive"),
        Settings(method="image_retrieval"),
        Settings(method="visible_structure", head="cells"),
        Settings(method="visible_structure", head="generative"),
        Settings(method="visible_structure", head="generative", search="nearest"),
        Settings(method="landmarks"),
        Settings(method="landmarks", registration="landmark_wise"),
    ],
    ids=[
        *("exhaustive", "image_retrieval", "cells", "generative", "generative-nearest"),
        *("landmarks", "landmark_wise"),
    ],
)
@pytest.mark.parametrize("second_pass", [False, True])
def test_every_method_localises(settings: Settings, second_pass: bool, frames: list[Frame]) -> None:
    opened = Localizer.open(
        open_bundle(DEMO / "map"), CAMERA, replace(settings, second_pass=second_pass)
    )
    for frame in frames[::27]:
        estimate = opened.localize(frame).estimate
        assert estimate.status is Status.OK, estimate.reason
        assert estimate.cam_from_world is not None and estimate.covariance is not None
        error = pose_error(estimate.cam_from_world, TRUTH[frame.name])
        assert error.translation < 5 * MEDIAN_M
        assert error.rotation_deg < 5 * MEDIAN_DEG
        assert (np.linalg.eigvalsh(estimate.covariance) > 0).all()
    opened.close()


def test_same_frame_same_pose(localizer: Localizer, frames: list[Frame]) -> None:
    first, second = localizer.localize(frames[3]).estimate, localizer.localize(frames[3]).estimate
    assert first.cam_from_world is not None
    np.testing.assert_array_equal(first.cam_from_world, second.cam_from_world)


def test_half_resolution_is_scaled(frames: list[Frame]) -> None:
    camera = CAMERA.scaled_to(CAMERA.width // 2, CAMERA.height // 2)
    opened = Localizer.open(open_bundle(DEMO / "map"), camera)
    frame = frames[5]
    image = cv2.resize(frame.image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    estimate = opened.localize(replace(frame, image=image, camera=camera)).estimate
    assert estimate.cam_from_world is not None, estimate.reason
    assert pose_error(estimate.cam_from_world, TRUTH[frame.name]).translation < 5 * MEDIAN_M


def spoiled(kind: str, image: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(0)
    return {
        "black": np.zeros_like(image),
        "white": np.full_like(image, 255),
        "blurred": cv2.GaussianBlur(image, (0, 0), 25),
        "noise": generator.integers(0, 256, image.shape).astype(np.uint8),
    }[kind]


@pytest.mark.parametrize("kind", ["black", "white", "blurred", "noise"])
@pytest.mark.parametrize("method", ["localizer", "regressor"])
def test_spoiled_frames_get_a_reason_and_no_pose(
    kind: str, method: str, frames: list[Frame], request: pytest.FixtureRequest
) -> None:
    localizer: Localizer = request.getfixturevalue(method)
    estimate = localizer.localize(replace(frames[2], image=spoiled(kind, frames[2].image))).estimate
    assert estimate.status is not Status.OK
    assert estimate.cam_from_world is None and estimate.covariance is None
    assert estimate.reason
    after = localizer.localize(frames[2]).estimate  # and the next good frame is as good as ever
    assert after.status is Status.OK


@pytest.mark.parametrize("method", ["localizer", "regressor"])
def test_another_place_is_never_localised(
    method: str, data_dir: Path, request: pytest.FixtureRequest
) -> None:
    """Real photos of other places against the courtyard."""
    localizer: Localizer = request.getfixturevalue(method)
    localised = []
    for scene in ("herz_jesus", "fox", "lund"):
        for path in sorted((data_dir / scene / "images").iterdir())[::4]:
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            camera = replace(
                CAMERA,
                width=image.shape[1],
                height=image.shape[0],
                cx=image.shape[1] / 2,
                cy=image.shape[0] / 2,
            )
            estimate = localizer.localize(
                Frame(image=image, t_ns=0, camera=camera, name=path.name)
            ).estimate
            if estimate.status is Status.OK:
                localised.append(f"{scene}/{path.name}")
    assert not localised
