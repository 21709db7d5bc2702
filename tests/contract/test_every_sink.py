"""What `sinks.Sink` promises: whole estimates in order, and nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edge_reloc.errors import SinkError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.sinks import Sink, open_sink
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.opening import SINKS
from edge_reloc.structs import PoseEstimate, Status


def located(index: int) -> PoseEstimate:
    """A frame with a pose of its own."""
    return PoseEstimate(
        t_ns=1_732_000_000_123_456_789 + index,
        status=Status.OK,
        cam_from_world=compose(so3_exp([0.1 * index, 2.0, -0.3]), [1.0, -2.0, 0.5 * index]),
        covariance=np.eye(6),
        index=index,
        name=f"{index:06d}.jpg",
    )


def lost(index: int) -> PoseEstimate:
    """A frame without one."""
    return PoseEstimate(t_ns=index, status=Status.NO_MATCHES, reason="3 matches", index=index)


FACTS = RunFacts(camera=Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24))
# the pose file of an address
FILES = {f"poses{suffix}": f"poses{suffix}" for suffix in SINKS} | {
    "colmap:model": "model/images.txt"
}


class Target(NamedTuple):
    """What is opened, and the file that the poses go to."""

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / FILES[self.name]

    def open(self, below: str = "") -> Sink:
        scheme, _, file = self.name.rpartition(":")
        return open_sink(f"{scheme}:" * bool(scheme) + str(self.folder / below / file), FACTS)


@pytest.fixture(params=FILES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """A file of each format."""
    return Target(request.param, tmp_path)


def test_an_estimate_is_there_before_the_sink_is_closed(target: Target) -> None:
    sink = target.open()
    sink.write(located(0))
    whole = target.path.read_bytes()
    assert whole.endswith(b"\n")
    sink.close()
    sink.close()
    assert target.path.read_bytes() == whole


def test_estimates_stay_in_order_and_an_old_file_goes(target: Target) -> None:
    estimates = [located(0), lost(1), located(2)]
    alone = []
    for estimate in estimates:
        sink = target.open()
        sink.write(estimate)
        sink.close()
        alone.append(target.path.read_bytes())
    assert len(alone[1]) < len(alone[0]), "a lost frame has no pose"
    sink = target.open()
    for estimate in estimates:
        sink.write(estimate)
    sink.close()
    assert target.path.read_bytes() == b"".join(alone)


def test_no_folder(target: Target) -> None:
    with pytest.raises(SinkError, match="no folder"):
        target.open("nowhere")


def test_full_disk(target: Target) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full exists only on Linux")
    target.path.parent.mkdir(exist_ok=True)
    target.path.symlink_to(full)
    sink = target.open()
    with pytest.raises(SinkError, match="No space left on device"):
        sink.write(located(0))
    sink.close()


def test_a_file_has_one_writer(target: Target) -> None:
    sink = target.open()
    sink.write(located(0))
    before = target.path.read_bytes()
    with pytest.raises(SinkError, match="another program is writing it, or it is named twice"):
        target.open()
    assert target.path.read_bytes() == before
    sink.close()
    target.open().close()
    assert target.path.read_bytes() == b""
