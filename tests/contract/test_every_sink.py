"""What `sinks.Sink` promises: whole estimates in order, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import SinkError
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.sinks import open_sink
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


@pytest.fixture(params=SINKS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each format."""
    return tmp_path / f"poses{request.param}"


def test_an_estimate_is_there_before_the_sink_is_closed(path: Path) -> None:
    sink = open_sink(path)
    sink.write(located(0))
    whole = path.read_bytes()
    assert whole.endswith(b"\n")
    sink.close()
    sink.close()
    assert path.read_bytes() == whole


def test_estimates_stay_in_order_and_an_old_file_goes(path: Path) -> None:
    estimates = [located(0), lost(1), located(2)]
    alone = []
    for estimate in estimates:
        sink = open_sink(path)
        sink.write(estimate)
        sink.close()
        alone.append(path.read_bytes())
    assert len(alone[1]) < len(alone[0]), "a lost frame has no pose"
    sink = open_sink(path)
    for estimate in estimates:
        sink.write(estimate)
    sink.close()
    assert path.read_bytes() == b"".join(alone)


def test_no_folder(path: Path) -> None:
    with pytest.raises(SinkError, match="no folder"):
        open_sink(path.parent / "nowhere" / path.name)


def test_full_disk(path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full exists only on Linux")
    path.symlink_to(full)
    sink = open_sink(path)
    with pytest.raises(SinkError, match="No space left on device"):
        sink.write(located(0))
    sink.close()


def test_a_file_has_one_writer(path: Path) -> None:
    sink = open_sink(path)
    sink.write(located(0))
    before = path.read_bytes()
    with pytest.raises(SinkError, match="another program is writing it, or it is named twice"):
        open_sink(path)
    assert path.read_bytes() == before
    sink.close()
    open_sink(path).close()
    assert path.read_bytes() == b""
