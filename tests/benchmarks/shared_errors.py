"""What of two systems' pose errors they share: that is the reference's, not theirs.

    python tests/benchmarks/shared_errors.py out/herz_jesus

On the folder of a scene that tests/benchmarks/peers/compare.py made. Every mapping photo in
turn: its points are triangulated anew from the other photos, and its pose is found from its
keypoints of them, once by our tracks, once by those of each pairwise peer. No image is looked at
and no match is made, so tens of photos take seconds where a peer takes minutes a query. If
two systems with other keypoints, matches and points are wrong into the same direction, the poses
that both were given and judged by are. --adjust: how far a bundle adjustment of a peer's model
moves the cameras. --keypoints-at whole: our keypoints moved to whole pixels, to see what
their exactness is worth.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edge_reloc.arrays import F64
from edge_reloc.geometry.rigid import camera_centre, pose_error
from edge_reloc.pose.refine import refine_pose
from edge_reloc_export.scene.model import SceneModel, View, load_model
from edge_reloc_export.scene.similarity import umeyama
from edge_reloc_export.scene.tracks import Tracks
from edge_reloc_export.scene.triangulate import retriangulated
from edge_reloc_export.scene.view_geometry import ViewGeometry
from tests.benchmarks.peers.pairwise_map import is_made, read_map
from tests.benchmarks.peers.posed_photos import mapping_photos

OTHERS = 2  # photos beside the one left out that must see a point


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", type=Path, help="folder of a scene below compare.py's --output")
    parser.add_argument("--keypoints-at", choices=("found", "whole"), default="found")
    parser.add_argument("--adjust", action="store_true", help="the peers' models, all poses free")
    parser.add_argument("--every", type=int, default=1, help="leave out each n-th photo")
    options = parser.parse_args()
    model = load_model(options.scene / "map.work" / "model.npz")
    if options.keypoints_at == "whole":
        model.views = [replace(v, xy_px=np.rint(v.xy_px)) for v in model.views]
    ours = report("ours", model, options.every)
    for folder in sorted((options.scene / "peers").glob("*_*")):
        if is_made(folder):
            system = folder.name.rpartition("_")[0]
            theirs = report(system, peers_model(options.scene, folder), options.every)
            compare(ours, theirs)
            if options.adjust:
                adjust(folder / "model")
    return 0


def peers_model(scene: Path, folder: Path) -> SceneModel:
    """A pairwise peer's map as a model of ours."""
    built, views = read_map(folder), []
    for photo, features, ids in zip(
        mapping_photos(scene / "data"), built.features, built.point_id, strict=True
    ):
        shown = np.flatnonzero(ids >= 0)
        view = View(
            name=photo.name,
            camera=photo.camera,
            cam_from_world=photo.cam_from_world,
            xy_px=features.xy_px[shown],
            point_id=ids[shown],
            keypoint=shown.astype(np.int32),
        )
        views.append(view)
    return SceneModel(views=views, xyz=built.xyz_world, metric=True)


def report(system: str, model: SceneModel, every: int) -> dict[str, F64]:
    """By photo the displacement (3,) of its camera; prints the medians."""
    geometry = ViewGeometry(model.views)
    lengths = [len(view.point_id) for view in model.views]
    seen_by = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    point = np.concatenate([view.point_id for view in model.views])
    xy_px = np.concatenate([view.xy_px for view in model.views]).astype(np.float64)
    rows = np.arange(len(point), dtype=np.int32)
    all_of_them = Tracks(seen_by, rows, point)
    present = np.unique(point)
    xyz = model.xyz.copy()
    xyz[present] = retriangulated(all_of_them, geometry, xyz[present], xy_px[all_of_them.keypoint])
    residual = geometry.residual(seen_by, xyz[point], xy_px)
    moved: dict[str, F64] = {}
    turned, used = [], []
    for number in range(0, len(model.views), every):
        view = model.views[number]
        others = (seen_by != number) & np.isin(point, view.point_id)
        count = np.bincount(point[others], minlength=len(xyz))
        others &= count[point] >= OTHERS
        known = np.flatnonzero(count >= OTHERS)
        tracks = Tracks(seen_by[others], rows[others], point[others])
        left = retriangulated(tracks, geometry, xyz[known], xy_px[tracks.keypoint])
        mine = np.flatnonzero(np.isin(view.point_id, known))
        places = left[np.searchsorted(known, view.point_id[mine])]
        found = refine_pose(
            view.camera, view.cam_from_world, view.xy_px[mine].astype(np.float64), places
        )
        if found is None:
            continue
        pose = found.cam_from_world
        moved[view.name] = camera_centre(pose) - camera_centre(view.cam_from_world)
        turned.append(pose_error(pose, view.cam_from_world).rotation_deg)
        used.append(len(mine))
    print(
        f"{system}: {len(present)} points, {np.sqrt((residual**2).mean()):.2f} px along an axis; "
        f"{len(moved)} photos left out, {np.median(used):.0f} points each, median "
        f"{_median(np.array(list(moved.values()))):.4f} of the map's unit, "
        f"{np.median(turned):.3f} deg"
    )
    return moved


def compare(ours: dict[str, F64], theirs: dict[str, F64]) -> None:
    """How alike two systems' displacements are."""
    names = [name for name in ours if name in theirs]
    one, other = (np.array([moved[name] for name in names]) for moved in (ours, theirs))
    alike = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    print(
        f"  {len(names)} photos: ours / theirs {_median(one) / _median(other):.2f}; correlation "
        f"of the two {alike:.2f}; median distance between the two {_median(one - other):.4f}"
    )


def adjust(folder: Path) -> None:
    """How far cameras move when their poses are refined with the points, intrinsics kept."""
    model = pycolmap.Reconstruction(str(folder))
    numbers = sorted(model.images)
    given = np.array([model.images[number].projection_center() for number in numbers])
    kept = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=False, refine_principal_point=False, refine_extra_params=False
    )
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    pycolmap.bundle_adjustment(model, kept)
    found = np.array([model.images[number].projection_center() for number in numbers])
    given_from_found = umeyama(found, given)
    away = _median(given_from_found.apply(found) - given)
    print(f"  its poses adjusted: the cameras move by {away:.4f} (median, after a similarity)")


def _median(vectors: F64) -> float:
    return float(np.median(np.linalg.norm(vectors, axis=1)))


if __name__ == "__main__":
    sys.exit(main())
