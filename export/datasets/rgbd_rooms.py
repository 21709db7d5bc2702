"""7-Scenes and 12-Scenes: frames with a pose file each.

7-Scenes: Shotton et al., CVPR 2013, https://www.microsoft.com/research/project/rgb-d-dataset-7-scenes.
12-Scenes: Valentin et al., 3DV 2016, http://graphics.stanford.edu/projects/reloc.
The SfM poses of both (`reference=FOLDER`, with SCENE_train.txt and SCENE_test.txt): Brachmann et
al., On the Limits of Pseudo Ground Truth, ICCV 2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edge_reloc.errors import SourceError

from .pose_files import ListedPose, first_row, numbers, quaternion_list, rows, world_from_cam
from .scene import FINE, Scene, Shot, centred, need, size_of

SEVEN_FOCAL_PX = 525.0  # of the colour camera, nominal; the poses are of the depth camera


def seven_scenes(folder: Path, options: dict[str, str]) -> Scene:
    """A folder such as `chess`, with TrainSplit.txt, TestSplit.txt and seq-01, ..."""
    listed = _listed(folder.name, options)
    splits = []
    for split in ("TrainSplit.txt", "TestSplit.txt"):
        frames = []
        for row in rows(need(folder / split, "a scene of 7-Scenes has TrainSplit.txt")):
            found = re.search(r"([0-9]{1,6})$", row.words[0])
            if found is None:
                raise SourceError(f"{row.where}: expected 'sequence1', found '{row.words[0]}'")
            sequence = need(
                folder / f"seq-{int(found[1]):02d}", "unpack the archive of this sequence"
            )
            frames += sorted(sequence.glob("*.color.png"))
        splits.append(_shots(folder, frames, ".color.png", SEVEN_FOCAL_PX, listed))
    return Scene(
        name=folder.name, mapping=splits[0], queries=splits[1], metric=True, thresholds=FINE
    )


def twelve_scenes(folder: Path, options: dict[str, str]) -> Scene:
    """A folder such as `apt1/kitchen`, with split.txt, info.txt and data/."""
    name = f"{folder.parent.name}_{folder.name}"
    listed = _listed(name, options)
    split = first_row(need(folder / "split.txt", "a scene of 12-Scenes has split.txt and info.txt"))
    found = re.search(r"frames=([0-9]{1,9})\b", " ".join(split.words))
    if found is None:
        raise SourceError(f"{split.where}: expected 'sequence0 [frames=357] ...'")
    frames = sorted((folder / "data").glob("*.color.jpg"))
    focal = _focal_of_info(need(folder / "info.txt", "it has the focal length"))
    count = int(found[1])  # the first sequence is for testing
    mapping = _shots(folder, frames[count:], ".color.jpg", focal, listed)
    queries = _shots(folder, frames[:count], ".color.jpg", focal, listed)
    return Scene(name=name, mapping=mapping, queries=queries, metric=True, thresholds=FINE)


def _focal_of_info(path: Path) -> float:
    """Mean of fx and fy of the colour camera."""
    for row in rows(path):
        if row.words[0] == "m_calibrationColorIntrinsic":
            matrix = numbers(row, 2, 16, "m_calibrationColorIntrinsic = 16 numbers")
            return float(matrix[0] + matrix[5]) / 2.0
    raise SourceError(f"{path}: no line m_calibrationColorIntrinsic")


def _listed(name: str, options: dict[str, str]) -> dict[str, ListedPose] | None:
    if "reference" not in options:
        return None
    folder = Path(options["reference"])
    found: dict[str, ListedPose] = {}
    for split in ("train", "test"):
        path = need(folder / f"{name}_{split}.txt", "reference= names a folder of SfM poses")
        found.update(quaternion_list(path))
    return found


def _shots(
    folder: Path,
    frames: Iterable[Path],
    suffix: str,
    focal_px: float,
    listed: dict[str, ListedPose] | None,
) -> list[Shot]:
    """Frames with a finite pose; `listed` instead of each one's own file."""
    shots = []
    for path in frames:
        name = path.relative_to(folder).as_posix()
        if listed is None:
            pose = world_from_cam(path.with_name(path.name.replace(suffix, ".pose.txt")))
            focal = focal_px
        else:
            entry = listed.get(name)
            pose, focal = (None, focal_px) if entry is None else (entry[0], entry[1] or focal_px)
        if pose is not None:
            camera = centred(size_of(path), focal)
            shots.append(Shot(name=name, path=path, camera=camera, cam_from_world=pose))
    return shots
