"""Cambridge Landmarks and Aachen Day-Night.

Cambridge Landmarks: Kendall et al., PoseNet, ICCV 2015, https://www.repository.cam.ac.uk.
Aachen Day-Night v1.0 and v1.1: Sattler et al., CVPR 2018; Zhang et al., IJCV 2021,
https://www.visuallocalization.net. Its query poses are kept back: write a submission.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_reloc.errors import SourceError

from .pose_files import Row, from_centre, listed_cameras, model_shots, numbers, rows, whole
from .scene import LONG_TERM, Scene, Shot, centred, need, size_of

HEADER_LINES = 3


def cambridge(folder: Path, options: dict[str, str]) -> Scene:
    """A folder such as `KingsCollege`, with dataset_train.txt and reconstruction.nvm.

    The lists have where each camera stands and its rotation; the focal length is of the NVM
    file, whose radial distortion is left out, as those who publish figures do.
    """
    nvm = need(folder / "reconstruction.nvm", "a scene of Cambridge Landmarks has it")
    focal = {Path(row.words[0]).with_suffix("").as_posix(): row for row in nvm_cameras(nvm)}
    splits = []
    for split in ("train", "test"):
        path = need(folder / f"dataset_{split}.txt", "a scene of Cambridge Landmarks has it")
        shots = []
        for row in rows(path, skip=HEADER_LINES):
            name = row.words[0]
            values = numbers(row, 1, 7, "name X Y Z W P Q R")
            camera = focal.get(Path(name).with_suffix("").as_posix())
            if camera is None:
                continue  # a few are listed and not reconstructed
            focal_px = float(numbers(camera, 1, 1, "a focal length")[0])
            shots.append(
                Shot(
                    name=name,
                    path=folder / name,
                    camera=centred(size_of(need(folder / name, "unpack all of it")), focal_px),
                    cam_from_world=from_centre(row, values[3:], values[:3]),
                )
            )
        splits.append(shots)
    return Scene(
        name=folder.name, mapping=splits[0], queries=splits[1], metric=True, thresholds=LONG_TERM
    )


def aachen(folder: Path, options: dict[str, str]) -> Scene:
    """v1.1 (3D-models/aachen_v_1_1) or v1.0 (3D-models/aachen_cvpr2018_db.nvm)."""
    images = need(folder / "images_upright", "unpack database_and_query_images.zip")
    v11, v10 = folder / "3D-models/aachen_v_1_1", folder / "3D-models/aachen_cvpr2018_db.nvm"
    if v11.is_dir():
        mapping = model_shots(v11, images)
    elif v10.is_file():
        mapping = list(_database(folder, images, v10))
    else:
        raise SourceError(f"{folder}: neither {v11.name} nor {v10.name} in 3D-models")
    queries = []
    lists = sorted((folder / "queries").glob("*_time_queries_with_intrinsics.txt"))
    for path in lists:
        queries += [
            Shot(name=name, path=images / name, camera=camera, cam_from_world=None)
            for name, camera in listed_cameras(path)
        ]
    name = "aachen_v1.1" if v11.is_dir() else "aachen_v1.0"
    return Scene(name=name, mapping=mapping, queries=queries, metric=True, thresholds=LONG_TERM)


def _database(folder: Path, images: Path, nvm: Path) -> Iterator[Shot]:
    listed = need(folder / "3D-models/database_intrinsics.txt", "v1.0 has it beside the model")
    cameras = dict(listed_cameras(listed))
    for row in nvm_cameras(nvm):
        name = row.words[0].removeprefix("./")
        name = name if name in cameras else Path(name).with_suffix(".jpg").as_posix()
        if name not in cameras:
            raise SourceError(f"{listed}: no camera of '{name}', which {row.where} has")
        values = numbers(row, 2, 7, "name focal qw qx qy qz x y z")
        yield Shot(
            name=name,
            path=images / name,
            camera=cameras[name],
            cam_from_world=from_centre(row, values[:4], values[4:]),
        )


def nvm_cameras(path: Path) -> list[Row]:
    """Lines `name focal qw qx qy qz x y z radial 0` of the first model of an NVM file."""
    lines = rows(path, comment="NVM")
    if not lines:
        raise SourceError(f"{path}: empty; expected an NVM file")
    count = whole(lines[0].words[0], lines[0].where, "an NVM file's number of cameras")
    if len(lines) <= count:
        raise SourceError(f"{path}: {len(lines) - 1} cameras, expected {count}")
    return lines[1 : 1 + count]
