"""A ring of poses in shared memory, for whatever is not Python; layout in edge_reloc_poses.h."""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import re
import stat
import struct
import time
import zlib
from pathlib import Path

import numpy as np

from ..errors import ConfigError, SinkError
from ..geometry.frames import (
    OPENXR_FROM_CAMERA,
    OPENXR_FROM_FLU,
    OPENXR_FROM_LEVEL,
    Placed,
    level_from_world,
    place,
)
from ..geometry.rigid import quat_from_rotation
from ..structs import PoseEstimate, State, Status
from .facts import RunFacts
from .options import split_options

HEADER = Path(__file__).with_name("edge_reloc_poses.h")
FOLDER = Path("/dev/shm")  # where shm_open looks on Linux
MAGIC, VERSION = b"EDGEPOSE", 1
#: magic, version, bytes of header and pose, slots, written, session, writing, axes, mounted,
#: metric, name of the map
HEAD = struct.Struct("<8s4I2Q4I64s136x")
WRITTEN = 24 // 8  # place of `written`, in words of eight bytes
WRITING = 40 // 4  # of `writing`, in words of four
#: behind sequence and checksum: flags, times, frame, status, state, resets, inliers, p_right,
#: position, quaternion, covariance
BODY = struct.Struct("<I2qQ4Id3d4d36d40x")
SEQUENCE = struct.Struct("<QI")
SLOT_BYTES = SEQUENCE.size + BODY.size

AXES = {"map": 0, "openxr": 1}
HAS_POSE, PROPAGATED, TRACKED = 1, 2, 4
STATUSES = {status: number for number, status in enumerate(Status)}
STATES: dict[State | None, int] = {state: n for n, state in enumerate(State, start=1)} | {None: 0}
NO_POSE = Placed(world_from_body=np.eye(4), covariance=np.zeros((6, 6)))


class ShmSink:
    """Writes every estimate; a reader that is slow misses some, and holds up nothing.

    rest: `NAME?slots=64&axes=map`, without a slash. The memory stays when the run has ended, so
    that a reader need not open it again for the next.
    """

    def __init__(self, rest: str, facts: RunFacts) -> None:
        known = {"slots": _slots, "axes": _axes}
        name, options = split_options(rest, known)
        if re.fullmatch(r"[A-Za-z0-9._-]{1,200}", name) is None or name.strip(".") == "":
            raise ConfigError(
                f"shm:{rest}: expected a name of letters, digits, '.', '_' and '-', such as "
                f"shm:head?axes=openxr"
            )
        self._slots: int = options.get("slots", 64)
        self._axes: str = options.get("axes", "map")
        self._mount = None if facts.camera is None else facts.camera.mount
        self._world = _world_axes(f"shm:{rest}", facts, self._axes)
        self._written = 0
        path = FOLDER / name
        nbytes = HEAD.size + self._slots * SLOT_BYTES
        try:
            self._file = _take(path, nbytes)
            self._memory = mmap.mmap(self._file, nbytes)
        except OSError as error:
            raise SinkError(f"shm:{name}: {path} cannot be made ({error.strerror})") from error
        self._words = memoryview(self._memory).cast("Q")
        self._halves = memoryview(self._memory).cast("I")
        self._words[WRITTEN] = 0
        self._memory[HEAD.size :] = bytes(nbytes - HEAD.size)
        self._memory[: HEAD.size] = HEAD.pack(
            MAGIC,
            VERSION,
            HEAD.size,
            SLOT_BYTES,
            self._slots,
            0,
            time.time_ns(),
            1,
            AXES[self._axes],
            self._mount is not None,
            facts.world.metric,
            facts.map_name.encode()[:63].decode(errors="ignore").encode(),
        )

    def write(self, estimate: PoseEstimate) -> None:
        number = self._written = self._written + 1
        start = HEAD.size + (number - 1) % self._slots * SLOT_BYTES
        body = self._body(estimate)
        checksum = zlib.crc32(body).to_bytes(4, "little")
        self._words[start // 8] = 2 * number - 1
        self._memory[start + 8 : start + SLOT_BYTES] = checksum + body
        self._words[start // 8] = 2 * number
        self._words[WRITTEN] = number

    def close(self) -> None:
        if self._memory.closed:
            return
        self._halves[WRITING] = 0
        self._words.release()
        self._halves.release()
        self._memory.close()
        os.close(self._file)

    def _body(self, estimate: PoseEstimate) -> bytes:
        placed, flags = NO_POSE, 0
        if estimate.cam_from_world is not None and estimate.covariance is not None:
            flags |= HAS_POSE
            placed = place(estimate.cam_from_world, estimate.covariance, self._mount)
            if self._axes == "openxr":
                body = OPENXR_FROM_CAMERA if self._mount is None else OPENXR_FROM_FLU
                placed = placed.in_axes(self._world, body)
        flags |= PROPAGATED * estimate.propagated | TRACKED * estimate.tracked
        return BODY.pack(
            flags,
            estimate.t_ns,
            time.monotonic_ns(),
            estimate.index,
            STATUSES[estimate.status],
            STATES[estimate.state],
            estimate.reset_counter,
            estimate.inliers,
            math.nan if estimate.p_right is None else estimate.p_right,
            *placed.xyz,
            *quat_from_rotation(placed.rotation),
            *placed.covariance.ravel(),
        )


def _take(path: Path, nbytes: int) -> int:
    """Descriptor of a file of that size, ours alone. Raises OSError, SinkError."""
    with contextlib.suppress(FileNotFoundError):
        _check_ours(path, path.lstat())
        # Never made shorter: whoever has it mapped would be killed when reading it.
        if path.stat().st_size != nbytes and not _is_written(path):
            path.unlink()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        _check_ours(path, os.fstat(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Taken now: where memory is full, writing to the map would kill the program.
        os.posix_fallocate(descriptor, 0, nbytes)
    except BlockingIOError:
        os.close(descriptor)
        raise SinkError(
            f"shm:{path.name}: another program is writing it, or it is named twice; name another"
        ) from None
    except (OSError, SinkError):
        os.close(descriptor)
        raise
    return descriptor


def _check_ours(path: Path, facts: os.stat_result) -> None:
    """SinkError for a file of another user, and for a pipe or a link in its place.

    Every user may write to this folder, and the owner of a file could change poses in it.
    """
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        raise SinkError(
            f"shm:{path.name}: {path} belongs to another user, or is not a plain file; remove it "
            f"or give another name"
        )


def _is_written(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _slots(text: str) -> int:
    if not 0 < int(text) <= 1 << 16:
        raise ValueError(f"expected 1 to {1 << 16}")
    return int(text)


def _axes(text: str) -> str:
    if text not in AXES:
        raise ValueError(f"expected {' or '.join(AXES)}")
    return text


def _world_axes(name: str, facts: RunFacts, axes: str) -> np.ndarray:
    """(3,3) of the receiver's world from the map's."""
    if axes == "map":
        return np.eye(3)
    if facts.world.gravity is None:
        raise ConfigError(
            f"{name}: the map does not know which way is down, which OpenXR's axes need; map it "
            f"with photos whose EXIF has orientations or GPS, or take axes=map"
        )
    return np.asarray(OPENXR_FROM_LEVEL @ level_from_world(facts.world.gravity))
