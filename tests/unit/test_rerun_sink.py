"""The live view in rerun: its files read back by rerun itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rerun", reason="pip install 'edge-reloc[rerun]' (0.7 GB: not in [test])")
chunks = pytest.importorskip("rerun.chunk")
from small_files import no_file_above
from viewed_run import CAMERA, FACTS, LOST, PERIOD_NS, XYZ, estimate, look

from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.rigid import invert
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.look import Draws
from edge_reloc.sinks.rerun import RerunSink

FRAMES = 8
Rows = dict[tuple[str, str], list[tuple[int | None, Any]]]


def write(path: Path) -> None:
    sink = open_sink(path, FACTS)
    assert isinstance(sink, Draws)
    for index in range(FRAMES):
        sink.write(estimate(index))
        sink.draw(look(index))
    sink.close()
    sink.close()


def rows_of(path: Path) -> Rows:
    """Time and value by entity and component."""
    found: Rows = {}
    for chunk in chunks.RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        times = None if chunk.is_static else batch.column("capture").cast("int64").to_pylist()
        for name in batch.schema.names:
            for row, value in enumerate(batch.column(name).to_pylist()):
                if ":" in name and value is not None:
                    when = None if times is None else times[row]
                    found.setdefault((chunk.entity_path, name), []).append((when, value))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What a file of eight frames holds."""
    path = tmp_path_factory.mktemp("run") / "run.rrd"
    write(path)
    (blueprint,) = chunks.RrdReader(str(path)).blueprints()
    assert blueprint.application_id == "edge_reloc"
    return rows_of(path)


def test_poses_and_the_camera(found: Rows) -> None:
    with_pose = [index * PERIOD_NS for index in range(FRAMES) if index != LOST]
    places = dict(found["/world/camera", "Transform3D:translation"])
    assert [t_ns for t_ns in places if places[t_ns]] == with_pose
    turns = dict(found["/world/camera", "Transform3D:mat3x3"])
    expected = estimate(3).cam_from_world
    assert expected is not None
    world_from_cam = invert(expected)
    np.testing.assert_allclose(places[3 * PERIOD_NS][0], world_from_cam[:3, 3], atol=1e-6)
    # rerun stores columns one after another
    stored = np.reshape(turns[3 * PERIOD_NS][0], (3, 3)).T
    np.testing.assert_allclose(stored, world_from_cam[:3, :3], atol=1e-6)
    lenses = dict(found["/world/camera", "Pinhole:image_from_camera"])
    assert list(lenses) == [0, (LOST + 1) * PERIOD_NS]
    lens = np.reshape(lenses[0][0], (3, 3)).T
    np.testing.assert_allclose(lens[:2, 2], [CAMERA.cx + 0.5, CAMERA.cy + 0.5], atol=1e-4)


def test_without_a_pose_the_camera_is_taken_away(found: Rows) -> None:
    """So that no old place looks like the present one."""
    cleared = dict(found["/world/camera", "Clear:is_recursive"])
    assert list(cleared) == [LOST * PERIOD_NS]
    steps = [t_ns for t_ns, _ in found["/world/path", "LineStrips3D:strips"]]
    assert steps == [index * PERIOD_NS for index in (1, 2, 3, 4, 7)]


def test_map_features_states_and_plots(found: Rows) -> None:
    ((when, xyz),) = found["/world/points", "Points3D:positions"]
    assert when is None
    np.testing.assert_array_equal(np.float32(xyz), XYZ)
    jpeg = np.uint8(dict(found["/world/camera/image", "EncodedImage:blob"])[PERIOD_NS][0])
    assert np.abs(cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED).astype(int) - look(1).image).mean() < 3
    inliers = dict(found["/world/camera/image/inliers", "Points2D:positions"])[PERIOD_NS]
    np.testing.assert_allclose(inliers, look(1).inlier_xy_px + 0.5, atol=1e-6)
    states = [state for _, (state,) in found["/state", "StateChange:state"]]
    assert states == ["TRACKING", "LOST", "TRACKING"]
    lines = [text for _, (text,) in found["/log", "TextLog:text"]]
    assert lines == ["TRACKING", "LOST: DARK", "TRACKING"]
    assert dict(found["/latency/age", "Scalars:scalars"])[PERIOD_NS] == [12.5]
    assert dict(found["/latency/stages/extract", "Scalars:scalars"])[PERIOD_NS] == [3.5]
    assert dict(found["/memory/resident", "Scalars:scalars"])[0][0] > 10


def test_a_full_disk_ends_it_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_reloc.sinks.rerun.CHECK_S", 0.0)
    sink = open_sink(tmp_path / "run.rrd", FACTS)
    with no_file_above(400_000):
        with pytest.raises(SinkError, match=r"run\.rrd: writing stopped"):
            for index in range(2000):
                sink.write(estimate(index))
        sink.close()
    mended = tmp_path / "mended.rrd"
    mend = f"-m rerun rrd optimize --continue-on-error {tmp_path / 'run.rrd'} -o {mended}"
    subprocess.run([sys.executable, *mend.split()], capture_output=True)
    assert len(rows_of(mended)["/world/path", "LineStrips3D:strips"]) > 1


def test_addresses(tmp_path: Path) -> None:
    none = open_sink(f"rerun:{tmp_path / 'run.rrd'}?looks=0")
    assert isinstance(none, RerunSink) and not isinstance(none, Draws)
    none.close()
    with pytest.raises(ConfigError, match=r"rerun:nowhere: expected rerun:, rerun:FILE\.rrd"):
        open_sink("rerun:nowhere")
    with pytest.raises(SinkError, match="there is no folder"):
        open_sink(tmp_path / "nowhere" / "run.rrd")
