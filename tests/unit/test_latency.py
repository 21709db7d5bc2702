"""A camera's latency is found against a gyro, and not where nothing tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.structs import Frame
from edge_reloc_calib.latency import TurnRates, compare, read_gyro, turn_rates

CAMERA = Camera(model="pinhole", width=160, height=120, fx=130, fy=130, cx=79.5, cy=59.5)
RATE_HZ, GYRO_HZ = 30.0, 400.0
START_S, SECONDS = 1000.0, 5.0
LATENCY_MS = 47.3


def turn(t_s: np.ndarray | float) -> np.ndarray:
    """Rotation vectors (...,3) of a camera in a hand."""
    t = np.asarray(t_s)[..., None] - START_S
    return np.sin(t * [5.1, 7.3, 3.7] + [0.0, 1.0, 2.0]) * [0.20, 0.16, 0.24]


@pytest.fixture(scope="module")
def gyro() -> tuple[np.ndarray, np.ndarray]:
    """Seconds and rad/s of a gyro that is mounted some other way."""
    t_s = np.arange(START_S - 1, START_S + SECONDS + 1, 1 / GYRO_HZ)
    before, after = turn(t_s - 1e-4), turn(t_s + 1e-4)
    steps = [
        cv2.Rodrigues(cv2.Rodrigues(b)[0] @ cv2.Rodrigues(a)[0].T)[0][:, 0]
        for a, b in zip(before, after, strict=True)
    ]
    rate = np.array(steps) / 2e-4
    mounted = cv2.Rodrigues(np.array([0.3, 1.2, -0.7]))[0]
    noise = np.random.default_rng(0).normal(0, 0.01, rate.shape)
    return t_s, rate @ mounted.T + noise


def frames() -> Iterator[Frame]:
    """What it sees of a far-away wall, stamped too late, unevenly, and with a gap."""
    rng = np.random.default_rng(1)
    wall = cv2.GaussianBlur(rng.integers(0, 255, (480, 640), np.uint8), (0, 0), 2.5)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    centre = np.array([[1, 0, 240.0], [0, 1, 180.0], [0, 0, 1]])
    for number in range(int(SECONDS * RATE_HZ)):
        if 60 <= number < 70:
            continue
        t_s = START_S + number / RATE_HZ + rng.uniform(0, 4e-3)
        rotation = cv2.Rodrigues(turn(t_s))[0]
        shown = CAMERA.matrix @ rotation @ np.linalg.inv(centre @ CAMERA.matrix)
        image = cv2.warpPerspective(wall, shown, (CAMERA.width, CAMERA.height))
        yield Frame(image=image, t_ns=round((t_s + LATENCY_MS * 1e-3) * 1e9))


@pytest.fixture(scope="module")
def rates() -> TurnRates:
    return turn_rates(frames(), CAMERA, lambda text: None)


def test_the_latency_of_a_made_camera_is_found(
    rates: TurnRates, gyro: tuple[np.ndarray, np.ndarray]
) -> None:
    found = compare(rates, *gyro)
    assert found.latency_ms == pytest.approx(LATENCY_MS, abs=1.5)
    assert abs(found.latency_ms - LATENCY_MS) < 4 * found.sigma_ms < 8.0
    assert found.correlation > 0.95 and found.pairs == 140 - 2


def test_what_tells_no_latency_is_refused(
    rates: TurnRates, gyro: tuple[np.ndarray, np.ndarray]
) -> None:
    t_s, rate = gyro
    noise = np.random.default_rng(2).normal(size=rate.shape)
    still = TurnRates(rates.t_s, [0.01] * len(rates.rad_s))
    cases = [
        (rates, t_s, noise, "do not agree .correlation"),
        (rates, t_s + 60.0, rate, "0 pairs of frames lie within the gyro's log"),
        (rates, t_s[:0], rate[:0], "0 pairs of frames"),
        (still, t_s, rate, "the camera hardly turned"),
    ]
    for of_camera, seconds, of_gyro, text in cases:
        with pytest.raises(CameraError, match=text):
            compare(of_camera, seconds, of_gyro)


def test_a_log_of_a_gyro(tmp_path: Path) -> None:
    path = tmp_path / "gyro.csv"
    path.write_text("wx, wy, wz, t_ns\n0.1, 0.2, 0.3, 2000000000\n0, 0, 0, 1000000000\n")
    t_s, rate = read_gyro(path)
    assert t_s.tolist() == [1.0, 2.0] and rate[1].tolist() == [0.1, 0.2, 0.3]
    for text in ("time,x\n1,2\n", "t_ns,wx,wy,wz\n1,2\n", "t_ns,wx,wy,wz\n1,2,3,x\n"):
        path.write_text(text)
        with pytest.raises(CameraError, match="not a log of a gyro"):
            read_gyro(path)
    with pytest.raises(CameraError, match="cannot be read"):
        read_gyro(tmp_path / "none.csv")
