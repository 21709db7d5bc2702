"""Poses in shared memory, read back by C programs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.bundle.manifest import World
from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.geometry.rigid import compose, invert
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.shm import HEAD, HEADER, SLOT_BYTES
from edge_reloc.structs import PoseEstimate, State, Status

ROOT = Path(__file__).parents[2]
LEVEL = RunFacts(map_name="hall", world=World(metric=True, gravity=(0.0, 0.0, -1.0)))
READS = 1_000_000

pytestmark = pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or shutil.which("gcc") is None,
    reason="needs Linux's /dev/shm and gcc",
)


@pytest.fixture
def name() -> Iterator[str]:
    name = f"edge_reloc_test_{os.getpid()}"
    yield name
    Path("/dev/shm", name).unlink(missing_ok=True)


def compiled(source: Path, folder: Path) -> Path:
    program = folder / source.stem
    warnings = ["-Wall", "-Wextra", "-Werror", "-std=gnu11"]
    command = ["gcc", "-O2", *warnings, "-I", HEADER.parent, "-o", program, source]
    subprocess.run(command, check=True)
    return program


def numbered(n: int) -> PoseEstimate:
    """Every field follows from the number, as hammer.c expects."""
    return PoseEstimate(
        t_ns=n * 1000,
        status=Status.OK,
        cam_from_world=compose(np.eye(3), np.full(3, float(n))),
        # turned by nothing, so that the covariance of the world is that of the camera
        covariance=np.eye(6) * n,
        index=n,
        inliers=n % 1000,
    )


def test_a_million_reads_beside_a_writer_are_never_torn(tmp_path: Path, name: str) -> None:
    program = compiled(ROOT / "tests/unit/shm/hammer.c", tmp_path)
    sink = open_sink(f"shm:{name}?slots=1")  # the worst: always the one that is read
    sink.write(numbered(0))
    done = threading.Event()

    def write() -> None:
        estimates = [numbered(n) for n in range(1000)]
        while not done.is_set():
            for estimate in estimates:
                sink.write(estimate)

    writer = threading.Thread(target=write)
    writer.start()
    command = [program, f"/dev/shm/{name}", str(READS)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done.set()
    writer.join()
    sink.close()
    counts, layout = (list(map(int, line.split())) for line in output.splitlines())
    reads, whole, torn, numbers = counts
    assert reads == READS and torn == 0
    assert whole > READS // 10 and numbers > 100, "reader and writer did not meet"
    assert layout == [HEAD.size, SLOT_BYTES, 56, 64, 408]


def test_a_pose_that_is_not_whole_is_not_read(tmp_path: Path, name: str) -> None:
    program = compiled(ROOT / "tests/unit/shm/hammer.c", tmp_path)
    sink = open_sink(f"shm:{name}?slots=2")
    for n in range(3):
        sink.write(numbered(n))
    sink.close()
    path = Path("/dev/shm", name)

    def whole() -> int:
        command = [program, path, "1"]
        return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[1])

    good = path.read_bytes()
    assert whole() == 1
    newest = HEAD.size  # the third of a ring of two
    for place in (newest, newest + 8, newest + 100, newest + SLOT_BYTES - 1):
        with path.open("r+b") as file:  # in place, as it is shared
            file.seek(place)
            file.write(bytes([good[place] ^ 1]))
            file.flush()
            assert whole() == 0, place
            file.seek(place)
            file.write(good[place : place + 1])
    assert whole() == 1


@pytest.mark.parametrize("mounted", [False, True])
def test_the_reader_prints_openxr_axes(tmp_path: Path, name: str, mounted: bool) -> None:
    """A camera at east 1, north 2, up 3 that looks north is a head that looks ahead (-z)."""
    program = compiled(ROOT / "examples/headset/read_poses.c", tmp_path)
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24)
    if mounted:
        camera = camera.mounted(MOUNTS["front"])
    facts = RunFacts(map_name="hall", world=LEVEL.world, camera=camera)
    world_from_cam = compose([[1, 0, 0], [0, 0, 1], [0, -1, 0]], [1.0, 2.0, 3.0])
    estimate = PoseEstimate(
        t_ns=5,
        status=Status.OK,
        state=State.TRACKING,
        reset_counter=2,
        cam_from_world=invert(world_from_cam),
        covariance=np.eye(6),
    )
    sink = open_sink(f"shm:{name}?axes=openxr", facts)
    sink.write(estimate)
    sink.close()
    command = [program, name, "5"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "map hall, metres, axes OpenXR"
    words = lines[1].split()
    assert words[:7] == ["1", "t", "5", "state", "TRACKING", "resets", "2"]
    np.testing.assert_allclose(list(map(float, words[8:11])), [1, 3, -2])
    np.testing.assert_allclose(list(map(float, words[12:16])), [1, 0, 0, 0], atol=1e-5)
    assert len(lines) == 2, "the run has ended"


def test_one_writer_and_no_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_sink(f"shm:{name}")
    for address in (f"shm:{name}", f"shm:{name}?slots=3"):
        with pytest.raises(SinkError, match="another program is writing it"):
            open_sink(address)
    first.close()
    first.close()
    open_sink(f"shm:{name}?slots=3").close()
    assert Path("/dev/shm", name).stat().st_size == HEAD.size + 3 * SLOT_BYTES

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SinkError, match=r"cannot be made \(No space left"):
        open_sink(f"shm:{name}")


@pytest.mark.parametrize("what", ["pipe", "folder", "link", "of another"])
def test_what_others_put_there_is_not_taken(
    name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("/dev/shm", name)
    (tmp_path / "mine").write_bytes(b"kept")
    if what == "pipe":  # nobody reads it: opening it would wait for ever
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(tmp_path / "mine")
    else:
        path.write_bytes(bytes(HEAD.size + 64 * SLOT_BYTES))
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SinkError, match="belongs to another user, or is not a plain file"):
        open_sink(f"shm:{name}")
    assert (tmp_path / "mine").read_bytes() == b"kept"
    if what == "folder":
        path.rmdir()


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "expected a name"),
        ("a/b", "expected a name"),
        ("..", "expected a name"),
        ("a?slots=0", "slots: found '0'"),
        ("a?axes=ned", "expected map or openxr"),
        ("a?axes=openxr", "does not know which way is down"),
    ],
)
def test_addresses_that_are_refused(rest: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_sink(f"shm:{rest}")
