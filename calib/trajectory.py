"""Poses over time, of our camera and of the body that carries it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.arrays import F64, I64
from edge_reloc.errors import CameraError
from edge_reloc.files import read_small
from edge_reloc.geometry.rigid import (
    FARTHEST,
    compose,
    invert,
    quaternion,
    rigid,
    rotation_from_quat,
)

from .turns import rotation_vectors, rotations

FILE_BYTES = 1 << 28  # some hours of poses
MOST_S = 9_000_000_000  # before or after the epoch: as many nanoseconds fit 64 bits


@dataclass(frozen=True)
class Trajectory:
    """N poses in the order of time."""

    #: (N,) nanoseconds
    t_ns: I64
    #: (N,4,4)
    world_from_it: F64

    def __len__(self) -> int:
        return len(self.t_ns)

    def at(self, t_ns: I64 | F64, most_gap_s: float) -> tuple[F64, Any]:
        """Poses (M,4,4) at times (M,), and (M,) whether neighbours near enough were there."""
        after = np.clip(np.searchsorted(self.t_ns, t_ns), 1, len(self) - 1)
        start = self.t_ns[after - 1].astype(np.float64)
        gap = self.t_ns[after] - start
        share = np.clip((t_ns - start) / gap, 0, 1)
        known = (t_ns >= self.t_ns[0]) & (t_ns <= self.t_ns[-1]) & (gap <= most_gap_s * 1e9)
        before, then = self.world_from_it[after - 1], self.world_from_it[after]
        turn = rotation_vectors(before[:, :3, :3].transpose(0, 2, 1) @ then[:, :3, :3])
        out = before.copy()
        out[:, :3, :3] = before[:, :3, :3] @ rotations(turn * share[:, None])
        out[:, :3, 3] += share[:, None] * (then[:, :3, 3] - before[:, :3, 3])
        return out, known


def read_trajectory(path: str | Path) -> Trajectory:
    """Poses of a .tum file, or of a .jsonl with `t_ns` and `world_from_body` or our own poses.

    Of our own poses those with status OK. Raises CameraError.
    """
    read = _jsonl if Path(path).suffix == ".jsonl" else _tum
    try:
        lines = read_small(path, FILE_BYTES).decode("utf-8-sig").split("\n")
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CameraError(f"{path}: no text; expected a .tum or .jsonl file of poses") from None
    poses = dict(read(lines, str(path)))
    if len(poses) < 2:
        raise CameraError(f"{path}: found {len(poses)} poses, expected at least 2")
    times = np.array(sorted(poses), np.int64)
    return Trajectory(times, np.array([poses[t] for t in times.tolist()]))


def _tum(lines: Any, where: str) -> Iterator[tuple[int, F64]]:
    for number, line in enumerate(lines, 1):
        parts = line.replace(",", " ").split()
        if not parts or parts[0].startswith("#"):
            continue
        try:
            t_ns = _nanoseconds(Decimal(parts[0]).scaleb(9))
            values = np.array(parts[1:8], np.float64)
            quat = quaternion(values[[6, 3, 4, 5]])
            near = bool((np.abs(values[:3]) <= FARTHEST).all())
        except (ValueError, ArithmeticError, IndexError):
            quat = None
        if quat is None or not near:
            raise CameraError(
                f"{where}: line {number} is '{line.strip()[:60]}', expected t_s x y z qx qy qz qw"
            )
        yield t_ns, compose(rotation_from_quat(quat), values[:3])


def _nanoseconds(t_ns: Decimal) -> int:
    """Of a number in any notation. Raises ValueError or ArithmeticError for no time."""
    if not abs(t_ns) < MOST_S * 10**9:
        raise ValueError
    return int(t_ns)


def _jsonl(lines: Any, where: str) -> Iterator[tuple[int, F64]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise TypeError
            ours = "cam_from_world" in values
            if ours and values.get("status", "OK") != "OK":
                continue
            pose = rigid(values["cam_from_world"] if ours else values["world_from_body"])
            t_ns = _nanoseconds(Decimal(values["t_ns"]))
        except (ValueError, ArithmeticError, KeyError, TypeError, RecursionError):
            pose = None
        if pose is None:
            raise CameraError(
                f"{where}: line {number} is '{line.strip()[:60]}', expected t_ns and "
                f"world_from_body (rows of a rigid 4x4), or our own poses"
            )
        yield t_ns, invert(pose) if ours else pose
