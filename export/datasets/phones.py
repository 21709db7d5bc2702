"""Wayspots, or any scene in ACE's layout, and Indoor-6.

Wayspots: Arnold et al., ECCV 2022, and Brachmann et al., ACE, CVPR 2023,
https://nianticlabs.github.io/ace. Indoor-6: Do et al., CVPR 2022,
https://github.com/microsoft/SceneLandmarkLocalization.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_reloc.errors import SourceError
from edge_reloc.files import read_small
from edge_reloc.geometry.camera import Camera

from .pose_files import colmap_camera, first_row, numbers, pose_matrix, rows, world_from_cam
from .scene import FINE, Scene, Shot, centred, need, size_of

SPLIT_BYTES = 1 << 26


def ace(folder: Path, options: dict[str, str]) -> Scene:
    """A folder with train/ and test/, each with rgb/, poses/ and calibration/.

    The files of a frame have the same place in their folders; a calibration is a focal length or
    a 3x3 matrix.
    """
    splits = []
    for split in ("train", "test"):
        parts = [
            sorted(need(folder / split / part, "ACE's layout has it").iterdir())
            for part in ("rgb", "poses", "calibration")
        ]
        if len({len(part) for part in parts}) > 1:
            counts = ", ".join(str(len(part)) for part in parts)
            raise SourceError(f"{folder / split}: {counts} files in rgb, poses and calibration")
        shots = []
        for photo, pose_file, calibration in zip(*parts, strict=True):
            pose = world_from_cam(pose_file)
            if pose is not None:
                name = photo.relative_to(folder).as_posix()
                camera = _camera(photo, calibration)
                shots.append(Shot(name=name, path=photo, camera=camera, cam_from_world=pose))
        splits.append(shots)
    return Scene(
        name=folder.name,
        mapping=splits[0],
        queries=splits[1],
        metric=True,
        thresholds="10cm/5deg,5cm/5deg",
    )


def _camera(photo: Path, calibration: Path) -> Camera:
    lines, size = rows(calibration), size_of(photo)
    if len(lines) == 1:
        return centred(size, float(numbers(lines[0], 0, 1, "a focal length")[0]))
    if len(lines) != 3:
        raise SourceError(f"{calibration}: found {len(lines)} lines, expected one or three")
    matrix = [numbers(row, 0, 3, "three rows of three numbers") for row in lines]
    camera = centred(size, float(matrix[0][0]))
    return replace(camera, fy=float(matrix[1][1]), cx=float(matrix[0][2]), cy=float(matrix[1][2]))


def indoor6(folder: Path, options: dict[str, str]) -> Scene:
    """A folder such as `scene1`, with images/ and train_test_val.pkl."""
    split = _read_split(need(folder / "train_test_val.pkl", "a scene of Indoor-6 has it"))
    return Scene(
        name=folder.name,
        mapping=[_indoor6_shot(folder / "images", name) for name in split["train"]],
        queries=[_indoor6_shot(folder / "images", name) for name in split["test"]],
        metric=True,
        thresholds=FINE,
    )


def _indoor6_shot(images: Path, name: str) -> Shot:
    row = first_row(images / name.replace("color.jpg", "intrinsics.txt"))
    width, height, *lens = numbers(row, 0, 5, "width height focal cx cy").tolist()
    camera = colmap_camera("SIMPLE_PINHOLE", (int(width), int(height)), lens, row.where)
    return Shot(
        name=name,
        path=images / name,
        camera=camera,
        cam_from_world=pose_matrix(images / name.replace("color.jpg", "pose.txt")),
    )


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers; whatever else a pickle asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickled(data: bytes) -> Any:
    for code, place, _ in pickletools.genops(data):
        if code.name.endswith("PUT") and (place or 0) > len(data):  # a table is made as long
            raise pickle.UnpicklingError(f"an entry with number {place} in {len(data)} bytes")
    return _PlainUnpickler(io.BytesIO(data)).load()


def _read_split(path: Path) -> dict[str, list[str]]:
    try:
        split = _unpickled(read_small(path, SPLIT_BYTES))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # damaged pickles raise anything
        raise SourceError(f"{path}: not the lists of names that Indoor-6 has ({error})") from None
    kinds = isinstance(split, dict) and all(
        isinstance(split.get(part), list) and all(isinstance(n, str) for n in split[part])
        for part in ("train", "test")
    )
    if not kinds:
        raise SourceError(f"{path}: expected lists of names 'train' and 'test'")
    return {part: split[part] for part in ("train", "test")}
