"""The reconstructed scene: photos with poses, points, who sees what."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32, F64, I32, Bool, finite_numbers
from edge_reloc.errors import EdgeRelocError, MappingError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera

from ..kept_files import DamagedError, check, read_arrays


@dataclass(kw_only=True)
class View:
    """A mapping photo with pose, and its K observations of map points."""

    name: str  #: of the photo, relative to the folder of photos
    camera: Camera
    cam_from_world: F64  #: (4,4)
    xy_px: F32  #: (K,2)
    point_id: I32  #: (K,)
    keypoint: I32  #: (K,): rows in the photo's cached features
    quarter_turns: int = 0  #: how the photo was turned before features were taken


@dataclass(frozen=True, kw_only=True)
class AlignmentFacts:
    """How well n known camera positions fit the reconstruction."""

    n: int  #: photos with a known position
    inliers: int  #: of them, that agree
    median_residual_m: float
    p90_residual_m: float
    scale_error: float | None  #: relative standard error; None where nothing checks it


@dataclass(kw_only=True)
class SceneModel:
    """Photos with poses, points, and what the world's axes and unit mean."""

    views: list[View]
    xyz: F64  #: (P,3) in the world
    metric: bool  #: one unit is one metre
    gravity: F64 | None = None  #: unit (3,), down
    #: latitude_deg, longitude_deg, altitude_m of the origin
    georeference: dict[str, float] | None = None
    notes: list[str] = field(default_factory=list)  #: for whoever made the map
    alignment: AlignmentFacts | None = None  #: None where no position was compared

    def keep_points(self, keep: Bool) -> SceneModel:
        """The model with only the points where `keep` (P,) is true."""
        new_id = np.cumsum(keep, dtype=np.int32) - 1
        views = []
        for view in self.views:
            rows = keep[view.point_id]
            views.append(
                replace(
                    view,
                    xy_px=view.xy_px[rows],
                    point_id=new_id[view.point_id[rows]],
                    keypoint=view.keypoint[rows],
                )
            )
        return replace(self, views=views, xyz=self.xyz[keep], notes=list(self.notes))


def save_model(path: Path, model: SceneModel) -> None:
    """Write a model (.npz), whole or not at all."""
    import io

    offsets = np.cumsum([0] + [len(v.point_id) for v in model.views])
    header = {
        "metric": model.metric,
        "gravity": None if model.gravity is None else model.gravity.tolist(),
        "georeference": model.georeference,
        "notes": model.notes,
        "alignment": None if model.alignment is None else asdict(model.alignment),
        "views": [
            {
                "name": v.name,
                "camera": v.camera.to_dict(),
                "cam_from_world": v.cam_from_world.tolist(),
                "quarter_turns": v.quarter_turns,
            }
            for v in model.views
        ],
    }
    stream = io.BytesIO()
    empty_xy, empty = np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    np.savez(
        stream,
        header=np.array(json.dumps(header)),
        xyz=model.xyz,
        offsets=offsets,
        xy_px=np.concatenate([v.xy_px for v in model.views] or [empty_xy]),
        point_id=np.concatenate([v.point_id for v in model.views] or [empty]),
        keypoint=np.concatenate([v.keypoint for v in model.views] or [empty]),
    )
    write_atomic(path, stream.getvalue())


def load_model(path: Path) -> SceneModel:
    """Inverse of `save_model`; MappingError when it is missing or damaged."""
    try:
        arrays = read_arrays(path)
        _check_arrays(path, arrays)
        return _model_of(path, json.loads(str(arrays["header"])), arrays)
    except FileNotFoundError:
        raise MappingError(f"{path}: no reconstruction here; run 'edge-reloc map' first") from None
    except EdgeRelocError:
        raise
    except Exception as error:  # a header that is another kind of JSON
        raise DamagedError(f"{path}: damaged ({error!r}); remove it and map again") from error


def _check_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """DamagedError unless every observation is one of a point that there is."""
    shapes = {"xyz": "P3", "offsets": "V", "xy_px": "K2", "point_id": "K", "keypoint": "K"}
    lengths = check(path, arrays, shapes)
    offsets, ids = arrays["offsets"], arrays["point_id"]
    cut = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == lengths["K"]
    if not cut or (np.diff(offsets) < 0).any():
        raise DamagedError(f"{path}: damaged, its offsets do not fit its observations; map again")
    whole = all(arrays[name].dtype.kind == "i" for name in ("offsets", "point_id", "keypoint"))
    least = min(ids.min(initial=0), arrays["keypoint"].min(initial=0))
    if not whole or least < 0 or ids.max(initial=-1) >= lengths["P"]:
        raise DamagedError(f"{path}: damaged, it observes points that it does not have; map again")


def _model_of(path: Path, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> SceneModel:
    offsets = arrays["offsets"]
    told = [finite_numbers(view["cam_from_world"], (4, 4)) for view in header["views"]]
    poses = [pose for pose in told if pose is not None]
    if len(poses) < len(told):
        raise DamagedError(f"{path}: damaged, a photo has no pose; map again")
    views = [
        View(
            name=str(v["name"]),
            camera=Camera.from_dict(v["camera"], str(path)),
            cam_from_world=pose,
            xy_px=arrays["xy_px"][a:b],
            point_id=arrays["point_id"][a:b],
            keypoint=arrays["keypoint"][a:b],
            quarter_turns=int(v["quarter_turns"]),
        )
        for v, pose, a, b in zip(header["views"], poses, offsets[:-1], offsets[1:], strict=True)
    ]
    alignment, gravity = header.get("alignment"), header["gravity"]
    down = None if gravity is None else finite_numbers(gravity, (3,))
    if gravity is not None and down is None:
        raise DamagedError(f"{path}: damaged, gravity is {gravity}; map again")
    place = header["georeference"]
    return SceneModel(
        views=views,
        xyz=arrays["xyz"],
        metric=bool(header["metric"]),
        gravity=down,
        georeference=None
        if place is None
        else {str(name): float(value) for name, value in place.items()},
        notes=[str(note) for note in header["notes"]],
        alignment=None if alignment is None else AlignmentFacts(**alignment),
    )
