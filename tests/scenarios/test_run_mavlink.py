"""`edge-reloc run` to an autopilot, decoded by pymavlink, against the same run's poses.jsonl."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymavlink")
from pymavlink.dialects.v20 import common

from edge_reloc import run
from edge_reloc.command_line.arguments import session_options
from edge_reloc.geometry.frames import level_from_world
from edge_reloc.geometry.rigid import rotation_from_quat, so3_exp
from edge_reloc.reference.truth import read_truth
from edge_reloc.running.demo import DEMO
from edge_reloc.running.session import Session

FRAMES = 3
TILT = 5e-3  # the courtyard's vertical is off its z axis by 0.2 degrees


def test_a_run_arrives_at_an_autopilot(tmp_path: Path) -> None:
    poses = tmp_path / "poses.jsonl"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10.0)
        address = f"mavlink:udpout:127.0.0.1:{receiver.getsockname()[1]}?autopilot=px4"
        options = ["--demo", "--frames", str(FRAMES), "--mount", "front"]
        outputs = ["--output", address, "--output", str(poses)]
        assert run.main([*options, *outputs]) == 0
        parser, seen = common.MAVLink(None), []
        while len(seen) < FRAMES:
            messages = parser.parse_buffer(receiver.recv(4096)) or []
            seen += [message for message in messages if message.get_type() == "ODOMETRY"]
    lines = [json.loads(line) for line in poses.read_text().splitlines()]
    for message, line in zip(seen, lines, strict=True):
        world_from_body = np.linalg.inv(line["body_from_world"])
        x, y, z = world_from_body[:3, 3]
        far = np.linalg.norm([x, y, z])
        np.testing.assert_allclose([message.x, message.y, message.z], [x, -y, -z], atol=TILT * far)
        frd = np.diag([1.0, -1, -1])
        expected = frd @ world_from_body[:3, :3] @ frd
        np.testing.assert_allclose(rotation_from_quat(message.q), expected, atol=TILT)
        assert (message.frame_id, message.child_frame_id) == (20, 12)
        assert message.quality == round(100 * line["p_right"])


@pytest.mark.parametrize(("pitch_deg", "ok"), [(0.0, True), (30.0, False)])
def test_poses_that_contradict_an_attitude_are_refused(pitch_deg: float, ok: bool) -> None:
    """The demo's camera is held by hand; the body's down is told as its true pose has it."""
    options = session_options(run.parse(["--demo", "--frames", "1", "--mount", "front"]))
    truth = read_truth(DEMO / "truth")["frame_000.jpg"]
    with Session(options) as session:
        advice = session.facts(camera=session.camera).advice
        assert advice is not None and session.camera.mount is not None
        gravity = np.array(session.bundle.manifest.world.gravity)
        down = session.camera.mount[:3, :3] @ truth[:3, :3] @ gravity
        level = level_from_world(down)  # of the body, without a heading
        advice.tell_rotation(0, level @ so3_exp([0, np.radians(pitch_deg), 0]))
        session.run(io.StringIO())
        assert (session.summary().localized == 1) is ok


def test_without_a_mount_it_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert DEMO.is_dir()
    assert run.main(["--demo", "--output", "mavlink:udpout:127.0.0.1:14550"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--mount front, nadir or FILE" in error
