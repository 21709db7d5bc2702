"""What systems say of queries, in the files in which they say it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_reloc.arrays import F64, finite_numbers
from edge_reloc.errors import SourceError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.rigid import quat_from_rotation
from edge_reloc.structs import Status

from ..datasets.pose_files import nearest_pose, quaternion_list, rows

TRUSTED = Status.OK.value


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Answer:
    """Of a system, to one query."""

    #: (4,4); None: not localised, or not trusted by the system itself
    cam_from_world: F64 | None
    #: (6,6) as `PoseEstimate.covariance`, None where the system has none
    covariance: F64 | None = None
    #: map points that were matched
    candidates: int | None = None
    #: wall time by stage
    stages_ms: Mapping[str, float] = field(default_factory=dict)


def read_answers(path: Path) -> dict[str, Answer]:
    """Of `poses.jsonl`, or of lines `name qw qx qy qz tx ty tz`, by name. Raises SourceError."""
    if path.suffix != ".jsonl":
        return {
            name: Answer(cam_from_world=pose.cam_from_world)
            for name, pose in quaternion_list(path).items()
        }
    answers = {}
    for row in rows(path, separator="\0"):
        try:
            line = json.loads(row.words[0])
            answers[str(line["name"])] = _answer(line)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SourceError(f"{row.where}: not a line of poses.jsonl ({error!r})") from None
    return answers


def _answer(line: dict[str, Any]) -> Answer:
    pose, covariance = line["cam_from_world"], line["covariance"]
    trusted = line["status"] == TRUSTED and pose is not None
    return Answer(
        cam_from_world=_pose(pose) if trusted else None,
        covariance=_covariance(covariance) if trusted and covariance is not None else None,
        candidates=int(line["candidates"]),
        stages_ms=dict(line["stages_ms"]),
    )


def _pose(told: Any) -> F64:
    """(4,4), as exact as it was written. Raises ValueError for what is none."""
    pose = finite_numbers(told, (4, 4))
    if pose is None or nearest_pose(pose) is None:
        raise ValueError("cam_from_world is not a pose")
    return pose


def _covariance(told: Any) -> F64:
    """(6,6). Raises ValueError for what is none."""
    covariance = finite_numbers(told, (6, 6))
    if covariance is None:
        raise ValueError("covariance is not six rows of six numbers")
    return covariance


def answer_of(answers: Mapping[str, Answer], name: str) -> Answer | None:
    """Also where the system names photos without their folders, as benchmarks ask for."""
    return answers.get(name) or answers.get(Path(name).name)


def write_submission(path: Path, names: Sequence[str], answers: Mapping[str, Answer]) -> int:
    """A file for visuallocalization.net: `name qw qx qy qz tx ty tz` of what was localised.

    name: without its folders. Returns the number of lines.
    """
    lines = []
    for name in names:
        answer = answer_of(answers, name)
        if answer is not None and answer.cam_from_world is not None:
            pose = answer.cam_from_world
            values = [*quat_from_rotation(pose[:3, :3]), *pose[:3, 3]]
            lines.append(f"{Path(name).name} " + " ".join(f"{value:.9f}" for value in values))
    write_atomic(path, "".join(f"{line}\n" for line in lines))
    return len(lines)
