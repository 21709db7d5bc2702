"""Any COLMAP model with a list of queries, and NeRF's transforms.json.

NeRF: Mildenhall et al., ECCV 2020, and instant-ngp's extension of it with lens parameters.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from edge_reloc.arrays import finite_numbers
from edge_reloc.errors import ConfigError, EdgeRelocError, SourceError
from edge_reloc.evaluation.thresholds import thresholds_of
from edge_reloc.files import read_small
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.frames import OPENXR_FROM_CAMERA
from edge_reloc.geometry.rigid import compose, invert
from edge_reloc.sources.listing import names_in_list

from .pose_files import colmap_camera, model_shots, nearest_pose
from .scene import FINE, RELATIVE, Scene, Shot, need, size_of

EVERY = 8  # photo is held out where no list says which, as is usual for NeRF


def colmap(folder: Path, options: dict[str, str]) -> Scene:
    """A folder with images/ and a COLMAP model (`reference/`, `sparse/0`, ...).

    queries=LIST names the photos to localise (default queries.txt); the rest is mapped, or what
    mapping.txt names. metric=no: the model's unit is not the metre. thresholds=0.5m/2deg,1m/5deg:
    others than 5 and 10 cm with 5 degrees.
    """
    told = options.get("metric", "yes")
    if told not in ("yes", "no"):
        raise ConfigError(f"colmap: metric={told}: expected yes or no")
    metric = told == "yes"
    thresholds = options.get("thresholds", FINE if metric else RELATIVE)
    thresholds_of(thresholds, metric, str(folder))
    reference = folder / "reference"
    images = need(folder / "images", "the photos are looked for there")
    model = reference if reference.is_dir() else folder
    shots = {shot.name: shot for shot in model_shots(model, images)}
    listing = Path(options.get("queries", str(folder / "queries.txt")))
    asked = names_in_list(need(listing, "it names the photos to localise"), images)
    mapping_list = folder / "mapping.txt"
    mapped = names_in_list(mapping_list, images) if mapping_list.is_file() else sorted(shots)
    unknown = [name for name in asked if name not in shots]
    if unknown:
        raise SourceError(f"{listing}: '{unknown[0]}' has no pose in the model")
    return Scene(
        name=folder.name,
        mapping=[shots[n] for n in mapped if n in shots and n not in set(asked)],
        queries=[shots[n] for n in asked],
        metric=metric,
        thresholds=thresholds,
    )


def nerf(folder: Path, options: dict[str, str]) -> Scene:
    """A folder with transforms.json, or transforms_train.json and transforms_test.json."""
    train, test = folder / "transforms_train.json", folder / "transforms_test.json"
    if train.is_file() and test.is_file():
        mapping, queries = _nerf_shots(folder, train), _nerf_shots(folder, test)
    else:
        path = need(folder / "transforms.json", "a NeRF scene has it")
        shots = _nerf_shots(folder, path)
        mapping = [shot for index, shot in enumerate(shots) if index % EVERY]
        queries = shots[::EVERY]
    return Scene(
        name=folder.name, mapping=mapping, queries=queries, metric=False, thresholds=RELATIVE
    )


def _nerf_shots(folder: Path, path: Path) -> list[Shot]:
    try:
        values = json.loads(read_small(path, 1 << 28))
        shots = [_nerf_shot(folder, values, frame) for frame in values["frames"]]
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    except EdgeRelocError:
        raise
    except Exception as error:  # lists where an object is expected, and their like
        raise SourceError(f"{path}: not a transforms.json ({error!r})") from None
    return sorted(shots, key=lambda shot: shot.name)


def _nerf_shot(folder: Path, values: dict[str, Any], frame: dict[str, Any]) -> Shot:
    name = str(frame["file_path"]).removeprefix("./")
    if not Path(name).suffix:
        name += ".png"
    path = folder / name
    rows = frame["transform_matrix"]
    world_from_view = finite_numbers(rows, (len(rows), 4))
    if world_from_view is None or len(rows) not in (3, 4):
        raise ValueError(f"the matrix of {name} is not four rows of four numbers")
    pose = nearest_pose(world_from_view)
    if pose is None:
        raise ValueError(f"the matrix of {name} is not a rotation and a position")
    # x right, y up, z back
    world_from_cam = compose(pose[:3, :3] @ OPENXR_FROM_CAMERA, pose[:3, 3])
    camera = _nerf_camera(path, {**values, **frame})
    return Shot(name=name, path=path, camera=camera, cam_from_world=invert(world_from_cam))


def _nerf_camera(path: Path, values: dict[str, Any]) -> Camera:
    size = size_of(need(path, "transforms.json names it"))
    if "fl_x" in values:
        fx = float(values["fl_x"])
    else:
        fx = 0.5 * size.width / math.tan(0.5 * float(values["camera_angle_x"]))
    middle = 0.5 * size.width, 0.5 * size.height
    lens = [fx, float(values.get("fl_y", fx))]
    # Pixels are counted as COLMAP does, which most of these files come from.
    lens += [float(values.get(k, m)) for k, m in zip(("cx", "cy"), middle, strict=True)]
    distortion = [float(values.get(k, 0.0)) for k in ("k1", "k2", "p1", "p2", "k3")]
    wh = size.width, size.height
    if any(distortion):
        return colmap_camera("FULL_OPENCV", wh, [*lens, *distortion, 0.0, 0.0, 0.0], str(path))
    return colmap_camera("PINHOLE", wh, lens, str(path))
