"""The mount of a camera from poses of both: known mounts come back, poor recordings do not pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_calib import CAMERAS, errors_of

from edge_reloc.arrays import F64
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import read_camera, write_camera
from edge_reloc.geometry.rigid import compose, invert, quat_from_rotation, rotation_vector, so3_exp
from edge_reloc_calib import calibrate as program
from edge_reloc_calib.mount import find_mount
from edge_reloc_calib.trajectory import Trajectory, read_trajectory
from edge_reloc_calib.turns import rotation_vectors, rotations

MOUNT = compose(so3_exp([1.2, -0.7, 0.4]), [0.12, -0.05, 0.2])
WORLD_FROM_MAP = compose(so3_exp([0.1, 0.2, 2.0]), [5.0, -3.0, 1.0])
NOISE_DEG, NOISE_M = 0.2, 0.01


def body_at(t_s: float, axes: tuple[int, ...] = (0, 1, 2)) -> F64:
    turn = np.array(
        [
            0.5 * np.sin(1.1 * t_s),
            0.4 * np.sin(0.7 * t_s + 1),
            0.8 * np.sin(0.5 * t_s) + 0.3 * np.sin(2.3 * t_s),
        ]
    )
    turn[[axis for axis in range(3) if axis not in axes]] = 0
    place = [2 * np.sin(0.4 * t_s), 1.5 * np.cos(0.3 * t_s), 0.5 * np.sin(0.9 * t_s)]
    return compose(so3_exp(turn), place)


def flight(
    seed: int, *, late_s: float = 0.0, scale: float = 1.0, axes: tuple[int, ...] = (0, 1, 2)
) -> tuple[Trajectory, Trajectory]:
    """Noisy poses of the camera at 5 Hz, whose clock is behind, and of the body at 20 Hz."""
    rng = np.random.default_rng(seed)
    body_s, cam_s = np.arange(0, 45, 0.05), np.arange(3, 42, 0.2)
    body = np.array([body_at(t, axes) for t in body_s])
    cam = []
    for t in cam_s:
        pose = invert(WORLD_FROM_MAP) @ body_at(t, axes) @ MOUNT
        turn = np.radians(rng.normal(0, NOISE_DEG, 3))
        pose = pose @ compose(so3_exp(turn), rng.normal(0, NOISE_M, 3))
        pose[:3, 3] /= scale
        cam.append(pose)
    return (
        Trajectory(np.round((cam_s - late_s) * 1e9).astype(np.int64), np.array(cam)),
        Trajectory(np.round(body_s * 1e9).astype(np.int64), body),
    )


def test_mounts_lie_within_their_standard_deviations() -> None:
    z = []
    for seed in range(5):
        mount = find_mount(*flight(seed))
        turned = rotation_vector(mount.body_from_cam[:3, :3] @ MOUNT[:3, :3].T)
        z.append(np.degrees(turned) / mount.sigma_deg)
        z.append((mount.body_from_cam[:3, 3] - MOUNT[:3, 3]) / mount.sigma_m)
        assert mount.residual_deg == pytest.approx(NOISE_DEG * 3**0.5, rel=0.2)
        assert mount.residual_m == pytest.approx(NOISE_M * 3**0.5, rel=0.2)
        assert mount.sigma_deg.max() < 0.1 and mount.sigma_m.max() < 0.005
    assert np.abs(z).max() < 5
    assert 0.7 < float(np.sqrt(np.mean(np.square(z)))) < 1.4  # 1.0 for a true sigma


def test_shifted_clocks_and_a_map_of_another_scale_are_found() -> None:
    mount = find_mount(*flight(1, late_s=123.456, scale=1.1), None)
    assert mount.offset_sigma_ms is not None
    assert mount.offset_ms == pytest.approx(123456, abs=5 * mount.offset_sigma_ms)
    assert mount.offset_sigma_ms < 3
    assert mount.scale == pytest.approx(1.1, abs=5 * mount.scale_sigma)
    assert np.allclose(mount.body_from_cam, MOUNT, atol=0.01)
    assert "the map is not in the body's metres: align it" in mount.text()


def test_poses_that_do_not_tell_the_mount_are_refused() -> None:
    for axis in range(3):
        with pytest.raises(CameraError, match=r"about one axis and .* about any other"):
            find_mount(*flight(0, axes=(axis,)))
    camera, body = flight(0)
    with pytest.raises(CameraError, match="0 of 195 poses of the camera lie between"):
        find_mount(camera, body, 1e6)
    backwards = Trajectory(body.t_ns, body.world_from_it[::-1])
    with pytest.raises(CameraError, match="the two paths turn differently"):
        find_mount(camera, backwards)
    rng = np.random.default_rng(0)
    steps = np.array([compose(so3_exp(w), np.zeros(3)) for w in rng.normal(0, 0.05, (900, 3))])
    shaken = Trajectory(body.t_ns, steps)
    with pytest.raises(CameraError, match="do not turn alike at any shift"):
        find_mount(camera, shaken, None)
    still = Trajectory(camera.t_ns, np.repeat(camera.world_from_it[:1], len(camera), axis=0))
    with pytest.raises(CameraError, match=r"spread by 0\.00 rad/s"):
        find_mount(still, body, None)


def test_the_program_completes_the_camera_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera, body = flight(2)
    poses, tum, file = tmp_path / "poses.jsonl", tmp_path / "body.tum", tmp_path / "camera.json"
    write_camera(file, CAMERAS["opencv"])
    lines = [
        {"t_ns": int(t), "status": "OK", "cam_from_world": invert(pose).tolist()}
        for t, pose in zip(camera.t_ns, camera.world_from_it, strict=True)
    ]
    lost = {"t_ns": 0, "status": "LOST", "cam_from_world": None}
    poses.write_text("".join(json.dumps(line) + "\n" for line in [lost, *lines]))
    rows = []
    for t, pose in zip(body.t_ns, body.world_from_it, strict=True):
        qw, qx, qy, qz = quat_from_rotation(pose[:3, :3])
        x, y, z = pose[:3, 3]
        rows.append(f"{t / 1e9:.9f} {x} {y} {z} {qx} {qy} {qz} {qw}")
    tum.write_text("# t x y z qx qy qz qw\n" + "\n".join(rows) + "\n")
    arguments = ["--mount", str(poses), "--body", str(tum), "--calibration", str(file)]
    assert program.main(arguments) == 0
    assert "mount       camera at (0.1" in capsys.readouterr().out
    assert np.allclose(read_camera(file).mount, MOUNT, atol=0.01)
    assert read_camera(file).distortion == CAMERAS["opencv"].distortion
    assert program.main([*arguments, "--body-axes", "frd", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["poses"] == len(camera)
    assert np.allclose(read_camera(file).mount, np.diag([1, -1, -1, 1]) @ MOUNT, atol=0.01)
    tum.write_text("1.0 2 3\n")
    assert "line 1 is '1.0 2 3', expected t_s x y z qx qy qz qw" in errors_of(arguments, capsys)
    poses.write_text('{"t_ns": 1}\n')
    assert "expected t_ns and world_from_body" in errors_of(arguments, capsys)


def test_poses_between_poses() -> None:
    ends = np.array([np.eye(4), compose(so3_exp([0, 0, 1.0]), [2.0, 0, 0])])
    path = Trajectory(np.array([0, 1_000_000_000]), ends)
    found, known = path.at(np.array([250_000_000, 2_000_000_000]), 2.0)
    assert known.tolist() == [True, False]
    assert np.allclose(found[0], compose(so3_exp([0, 0, 0.25]), [0.5, 0, 0]))
    assert not path.at(np.array([250_000_000]), 0.5)[1].any()
    vectors = np.random.default_rng(0).normal(0, 0.8, (20, 3))
    assert np.allclose(rotation_vectors(rotations(vectors)), vectors)
    assert np.allclose(rotations(vectors)[3], so3_exp(vectors[3]))


@pytest.mark.parametrize("first", ["1764000000.123456789", "1.764000000123456789e+09"])
def test_nanoseconds_of_a_tum_file_survive(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.tum"
    path.write_text(f"{first} 0 0 0 0 0 0 1\n1764000001.5 1 0 0 0 0 0 2\n")
    found = read_trajectory(path)
    assert found.t_ns.tolist() == [1764000000123456789, 1764000001500000000]
    assert np.allclose(found.world_from_it[1], compose(np.eye(3), [1, 0, 0]))


def test_times_that_are_none_are_refused(tmp_path: Path) -> None:
    tum, lines = tmp_path / "a.tum", tmp_path / "a.jsonl"
    for time in ("nan", "1e999999999", "99999999999999"):
        tum.write_text(f"{time} 0 0 0 0 0 0 1\n")
        with pytest.raises(CameraError, match="line 1 is"):
            read_trajectory(tum)
    for time in ("1e400", "99999999999999999999999"):
        lines.write_text(f'{{"t_ns": {time}, "world_from_body": {np.eye(4).tolist()}}}\n')
        with pytest.raises(CameraError, match="line 1 is"):
            read_trajectory(lines)


def test_a_status_of_the_body_is_no_status_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "body.jsonl"
    rows = [{"t_ns": t, "status": 3, "world_from_body": np.eye(4).tolist()} for t in (1, 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_trajectory(path).t_ns.tolist() == [1, 2]


def test_a_shift_of_the_clocks_that_is_no_number_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        program.main(["--mount", "poses.jsonl", "--offset-ms", "soon"])
    assert "found soon, expected milliseconds or auto" in capsys.readouterr().err
