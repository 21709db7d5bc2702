"""Receivers of poses: a pipe, a network, and files that other programs read."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.reference.colmap import read_model
from edge_reloc.running.demo import demo_folder
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.udp import UdpSink
from edge_reloc.structs import PoseEstimate, Status

CAMERA = Camera(
    model="opencv", width=640, height=480, fx=500, fy=501, cx=320, cy=240, distortion=(0.1, -0.2)
)
POSITION_M, ROTATION = 1e-6, 1e-8  # decimals that TUM's lines have


def located(index: int) -> PoseEstimate:
    return PoseEstimate(
        t_ns=1_000_000_000 + index * 33_333_333,
        status=Status.OK,
        cam_from_world=compose(so3_exp([0.1 * index, 1.0, -0.3]), [1.0, -2.0, 0.5 * index]),
        covariance=np.eye(6),
        index=index,
        name=f"{index:06d}.jpg",
    )


def lost(index: int) -> PoseEstimate:
    return PoseEstimate(t_ns=index, status=Status.NO_MATCHES, reason="3 matches", index=index)


class Run(NamedTuple):
    folder: Path
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three frames of the demo, with poses to everything that can be read back."""
    folder = tmp_path_factory.mktemp("run")
    outputs = ("-", "poses.jsonl", "colmap:model")
    words = [word for output in outputs for word in ("--output", output)]
    command = [sys.executable, "-m", "edge_reloc.run", "--demo", "--frames", "3", *words]
    return Run(folder, subprocess.run(command, cwd=folder, capture_output=True, text=True))


def test_a_pipe_gets_lines_of_json_and_nothing_else(run: Run) -> None:
    assert run.done.returncode == 0, run.done.stderr
    lines = [json.loads(line) for line in run.done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert run.done.stdout == (run.folder / "poses.jsonl").read_text()
    for words in ("map        ", "localised"):
        assert words in run.done.stderr


def test_a_reader_that_has_gone_ends_the_run_in_one_line() -> None:
    command = [sys.executable, "-m", "edge_reloc.run", "--demo", "--output", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stderr is not None
        assert json.loads(program.stdout.readline())["frame"] == 0
        program.stdout.close()
        told = program.stderr.read().decode().splitlines()
        assert program.wait() == 1
    assert told[-1] == "error: -: whoever read standard output has gone"


def test_udp_sends_a_line_a_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10.0)
        port = receiver.getsockname()[1]
        sink = open_sink(f"udp://127.0.0.1:{port}?rate=1000")
        for estimate in (located(0), lost(1)):
            sink.write(estimate)
            assert json.loads(receiver.recv(1 << 16)) == estimate.to_json()
    for index in range(3):  # nobody listens any more
        sink.write(located(index))
    sink.close()
    sink.close()


def test_udp_counts_what_the_network_does_not_take(caplog: pytest.LogCaptureFixture) -> None:
    sink = open_sink("udp://255.255.255.255:9")  # broadcasts need leave, which nobody gave
    assert isinstance(sink, UdpSink)
    for index in range(3):
        sink.write(located(index))
    sink.close()
    assert sink.unsent == 3
    assert [record.message for record in caplog.records] == [
        "udp://255.255.255.255:9: a pose was not sent (Permission denied)",
    ]


def test_addresses_that_are_refused() -> None:
    for address in ("udp:127.0.0.1:5", "udp://host", "udp://host:0", "udp://host:70000"):
        with pytest.raises(ConfigError, match="expected udp://host:port"):
            open_sink(address)
    with pytest.raises(SinkError, match=r"udp://nowhere\.invalid:5: cannot be sent to"):
        open_sink("udp://nowhere.invalid:5")
    with pytest.raises(ConfigError, match="no option but rate"):
        open_sink("-?port=5")
    with pytest.raises(ConfigError, match="expected a folder, and facts of a run"):
        open_sink("colmap:model")


def test_colmap_reads_what_was_written(tmp_path: Path) -> None:
    sink = open_sink(f"colmap:{tmp_path / 'model'}", RunFacts(camera=CAMERA))
    for estimate in (located(0), lost(1), located(2)):
        sink.write(estimate)
    sink.close()
    ours = read_model(tmp_path / "model")
    assert ours.cameras == {1: CAMERA}
    assert [image.name for image in ours.images] == ["000000.jpg", "000002.jpg"]
    for image, index in zip(ours.images, (0, 2), strict=True):
        cam_from_world = located(index).cam_from_world
        assert cam_from_world is not None
        np.testing.assert_allclose(image.cam_from_world, cam_from_world, atol=1e-12)


def test_pycolmap_reads_what_was_written(run: Run) -> None:
    pycolmap = pytest.importorskip("pycolmap", reason="pip install 'edge-reloc[export]'")
    model = pycolmap.Reconstruction(str(run.folder / "model"))
    truth = {image.name: image for image in read_model(demo_folder() / "truth").images}
    assert model.num_images() == 3
    for image in model.images.values():
        pose = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        np.testing.assert_allclose(pose, truth[image.name].cam_from_world, atol=0.03)
    camera = next(iter(model.cameras.values()))
    expected = json.loads((demo_folder() / "camera.json").read_text())
    assert camera.principal_point_x == expected["cx"] + 0.5  # COLMAP's pixels


def test_evo_reads_what_was_written(tmp_path: Path) -> None:
    file_interface = pytest.importorskip(
        "evo.tools.file_interface", reason="pip install 'edge-reloc[test]'"
    )
    sink = open_sink(tmp_path / "poses.tum")
    for estimate in (located(0), lost(1), located(2)):
        sink.write(estimate)
    sink.close()
    trajectory = file_interface.read_tum_trajectory_file(str(tmp_path / "poses.tum"))
    assert trajectory.check()[0], trajectory.check()
    for pose, index in zip(trajectory.poses_se3, (0, 2), strict=True):
        cam_from_world = located(index).cam_from_world
        np.testing.assert_allclose(pose @ cam_from_world, np.eye(4), atol=1e-5)
