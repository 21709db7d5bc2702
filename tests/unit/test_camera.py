"""Camera models: against OpenCV, there and back, scaled, and from bad files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import MODELS, Camera, read_camera, write_camera

# Same formulas in float64 on both sides.
OPENCV_PX = 1e-8
# Newton's last step leaves less than this, of a pixel.
ROUND_TRIP_PX = 1e-6

CAMERAS = {
    "pinhole": Camera(model="pinhole", width=640, height=480, fx=500, fy=505, cx=321, cy=238),
    "barrel": Camera(
        model="opencv",
        width=640,
        height=480,
        fx=500,
        fy=505,
        cx=321,
        cy=238,
        distortion=(-0.3, 0.12, 0.001, -0.002, -0.02),
    ),
    "rational": Camera(
        model="opencv",
        width=640,
        height=480,
        fx=420,
        fy=421,
        cx=318,
        cy=243,
        distortion=(0.4, 0.1, 0.0005, -0.0003, 0.02, 0.65, 0.2, 0.03),
    ),
    "fisheye": Camera(
        model="fisheye",
        width=640,
        height=480,
        fx=300,
        fy=302,
        cx=322,
        cy=238,
        distortion=(-0.02, 0.005, -0.003, 0.001),
    ),
    # OPENCV 540 960 687.76 687.245 277.279 482.634 ... of a phone, half pixel removed
    "phone": Camera(
        model="opencv",
        width=540,
        height=960,
        fx=687.76,
        fy=687.245,
        cx=276.779,
        cy=482.134,
        distortion=(0.0578421, -0.0805099, -0.000980296, 0.00015575),
    ),
}


@pytest.fixture(params=list(CAMERAS))
def camera(request: pytest.FixtureRequest) -> Camera:
    return CAMERAS[request.param]


def image_grid(camera: Camera, steps: int = 13) -> np.ndarray:
    u, v = np.meshgrid(
        np.linspace(-0.5, camera.width - 0.5, steps), np.linspace(-0.5, camera.height - 0.5, steps)
    )
    return np.stack([u.ravel(), v.ravel()], axis=1)


def points_in_view(camera: Camera, n: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    size = [camera.width - 1, camera.height - 1]
    xy = camera.rays_from_pixels(rng.uniform(0, 1, (n, 2)) * size)
    depth = rng.uniform(0.3, 20, (n, 1))
    return np.concatenate([xy * depth, depth], axis=1)


def test_projection_agrees_with_opencv(camera: Camera) -> None:
    xyz = points_in_view(camera)
    zero = np.zeros(3)
    bend = np.array(camera.distortion)
    if camera.model == "fisheye":
        expected, _ = cv2.fisheye.projectPoints(xyz[:, None], zero, zero, camera.matrix, bend)
    else:
        expected, _ = cv2.projectPoints(xyz, zero, zero, camera.matrix, bend)
    assert np.abs(camera.project(xyz) - expected.reshape(-1, 2)).max() < OPENCV_PX


def test_every_pixel_of_the_image_comes_back(camera: Camera) -> None:
    xy_px = image_grid(camera)
    back = camera.pixels_from_rays(camera.rays_from_pixels(xy_px))
    assert np.abs(back - xy_px).max() < ROUND_TRIP_PX


def test_rays_come_back_from_their_pixels(camera: Camera) -> None:
    """The way back finds the ray it came from, not another with the same pixel."""
    xy = np.random.default_rng(1).uniform(-1, 1, (300, 2))
    xy_px = camera.pixels_from_rays(xy)
    inside = np.all((xy_px > 0) & (xy_px < [camera.width - 1, camera.height - 1]), axis=1)
    near = np.linalg.norm(xy, axis=1) < 0.85  # beyond, the barrel lens folds over
    chosen = inside & near
    assert chosen.sum() > 50
    assert np.abs(camera.rays_from_pixels(xy_px[chosen]) - xy[chosen]).max() < 1e-9


def test_jacobian_predicts_small_motions(camera: Camera) -> None:
    xy = camera.rays_from_pixels(image_grid(camera, 7))
    pixels, jacobian = camera.pixels_and_jacobian(xy)
    assert np.abs(pixels - camera.pixels_from_rays(xy)).max() == 0
    step = np.array([2e-5, -1e-5])
    moved = camera.pixels_from_rays(xy + step)
    # second-order terms are below f * step^2 times the curvature
    assert np.abs(moved - pixels - jacobian @ step).max() < 1e-4


def test_points_behind_the_camera_have_no_pixel(camera: Camera) -> None:
    xyz = np.array([[0.1, 0.1, 2.0], [0.1, 0.1, -2.0], [0.1, 0.1, 0.0]])
    assert np.isnan(camera.project(xyz)).any(axis=1).tolist() == [False, True, True]


def test_scaled_camera_sees_the_same_rays(camera: Camera) -> None:
    half = camera.scaled_to(camera.width // 2, camera.height // 2)
    # The image's corners are the same rays at every size: pixel edges, not centres.
    full_px = np.array([[-0.5, -0.5], [camera.width - 0.5, camera.height - 0.5]])
    half_px = np.array([[-0.5, -0.5], [half.width - 0.5, half.height - 0.5]])
    assert np.allclose(camera.rays_from_pixels(full_px), half.rays_from_pixels(half_px), atol=1e-9)
    back = half.scaled_to(camera.width, camera.height)
    assert np.allclose(back.parameters, camera.parameters, rtol=1e-12)
    assert camera.scaled_to(camera.width, camera.height) is camera


def test_another_aspect_is_refused_but_a_rounded_one_is_not() -> None:
    camera = CAMERAS["pinhole"]
    with pytest.raises(CameraError, match=r"640x480 but the images are 640x360.*calibrate"):
        camera.scaled_to(640, 360)
    with pytest.raises(CameraError, match="aspect"):
        camera.scaled_to(480, 640)
    assert camera.scaled_to(427, 320).width == 427  # 426.67 rounded


def test_missing_coefficients_are_zero() -> None:
    assert CAMERAS["phone"].distortion[4:] == (0.0,) * 4
    for model, count in MODELS.items():
        made = Camera(model=model, width=64, height=64, fx=50, fy=50, cx=32, cy=32)
        assert len(made.distortion) == count


def test_camera_file_round_trip(tmp_path: Path, camera: Camera) -> None:
    path = tmp_path / "camera.json"
    write_camera(path, camera)
    assert read_camera(path) == camera
    assert "latency_ms" not in path.read_text()  # as files of before have none
    late = replace(camera, latency_ms=41.5)
    write_camera(path, late)
    assert read_camera(path) == late


GOOD = {"model": "pinhole", "width": 640, "height": 480, "fx": 500, "fy": 500, "cx": 320, "cy": 240}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": "magic"}, "found 'magic', expected one of"),
        ({"width": 4}, "found 4x480"),
        ({"fx": 0}, "expected positive pixels"),
        ({"fy": -500}, "expected positive pixels"),
        ({"cx": float("nan")}, "principal point: found cx=nan"),
        ({"distortion": [0.1]}, "at most 0 for model 'pinhole'"),
        ({"model": "fisheye", "distortion": [0.1] * 5}, "found 5 coefficients"),
        ({"fx": 1e308}, "expected positive pixels"),
        ({"fy": 1e-308}, "expected positive pixels"),
        ({"fx": float("inf")}, "expected positive pixels"),
        ({"cy": -1e308}, "principal point"),
        ({"model": "opencv", "distortion": [1e308]}, "camera distortion: found"),
        ({"width": 10**9}, "at most 65536 pixels a side"),
        ({"height": float("inf")}, "cannot convert float infinity"),
        ({"width": 1e308}, "at most 65536 pixels a side"),
        ({"rms_px": float("nan")}, "rms_px: found nan"),
        ({"rms_px": -1}, "rms_px: found -1"),
        ({"latency_ms": float("nan")}, "latency_ms: found nan"),
        ({"latency_ms": 20_000}, "latency_ms: found 20000"),
        ({"fx": "wide"}, "could not convert"),
        ({"distortion": None}, "NoneType"),
        ({"skew": 1.0}, r"unknown keys \['skew'\]"),
    ],
)
def test_malformed_camera_values_are_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(CameraError, match=problem):
        read_camera(path)


def test_malformed_camera_files_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    with pytest.raises(CameraError, match=r"camera.json: no such camera file.*calibrate"):
        read_camera(path)
    for content, problem in (
        (b"fx: 500", "not a camera file"),
        (b"\xff\xfe\x00", "not a camera file"),
        (b"[1, 2]", "expected a JSON object"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "fx"}).encode(), r"no \['fx'\]"),
    ):
        path.write_bytes(content)
        with pytest.raises(CameraError, match=f"camera.json: {problem}"):
            read_camera(path)
