"""Points of matches between posed photos, by pycolmap, as hloc makes its SfM model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycolmap
from numpy.typing import NDArray

from edge_reloc.arrays import F64
from edge_reloc.reference.colmap import colmap_pixels

from .pair_matchers import LocalFeatures

EPIPOLAR_PX = 4.0  # hloc's limit of a match that fits the known poses

Pair = tuple[int, int]


class Structure(NamedTuple):
    """P points, and which of them each keypoint of V photos shows."""

    xyz_world: F64  #: (P,3)
    point_id: list[NDArray[np.int32]]  #: V times (N,), -1 for none


def triangulate(
    features: Sequence[LocalFeatures],
    cam_from_world: Sequence[F64],
    matches: Mapping[Pair, NDArray[np.int64]],
    folder: Path,
    threads: int,
) -> Structure:
    """`pycolmap.triangulate_points` at fixed poses and cameras.

    matches: rows (M,2) by the photos' numbers; those that do not fit the poses are left out.
    folder: for a database and a model, made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    reconstruction = _reconstruction(features, cam_from_world)
    database = folder / "database.db"
    _write_database(database, reconstruction, features, cam_from_world, matches)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = threads
    options.random_seed = 0
    options.extract_colors = False
    done = pycolmap.triangulate_points(
        reconstruction, database, folder, folder, clear_points=True, options=options
    )
    row_of = {point: row for row, point in enumerate(sorted(done.points3D))}
    xyz = [done.points3D[point].xyz for point in row_of]
    ids = []
    for number, one in enumerate(features):
        shown = np.full(len(one.xy_px), -1, np.int32)
        for row, point in enumerate(done.images[number + 1].points2D):
            if point.has_point3D():
                shown[row] = row_of[point.point3D_id]
        ids.append(shown)
    return Structure(np.array(xyz, np.float64).reshape(-1, 3), ids)


def _reconstruction(features: Sequence[LocalFeatures], cam_from_world: Sequence[F64]) -> Any:
    """One camera a photo: what they share does not matter where nothing is refined."""
    found = pycolmap.Reconstruction()
    for number, (one, pose) in enumerate(zip(features, cam_from_world, strict=True), start=1):
        camera = copy(one.camera)
        camera.camera_id = number
        found.add_camera_with_trivial_rig(camera)
        image = pycolmap.Image(name=f"{number:06d}", camera_id=number, image_id=number)
        found.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    return found


def _write_database(
    path: Path,
    reconstruction: Any,
    features: Sequence[LocalFeatures],
    cam_from_world: Sequence[F64],
    matches: Mapping[Pair, NDArray[np.int64]],
) -> None:
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for camera in reconstruction.cameras.values():
            database.write_camera(camera, use_camera_id=True)
        for rig in reconstruction.rigs.values():
            database.write_rig(rig, use_rig_id=True)
        for frame in reconstruction.frames.values():
            database.write_frame(frame, use_frame_id=True)
        for image in reconstruction.images.values():
            database.write_image(image, use_image_id=True)
        for number, one in enumerate(features, start=1):
            database.write_keypoints(number, colmap_pixels(one.xy_px))
        for (i, j), rows in matches.items():
            fits = fits_poses(features[i], features[j], cam_from_world[i], cam_from_world[j], rows)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.inlier_matches = rows[fits].astype(np.uint32)
            database.write_matches(i + 1, j + 1, rows.astype(np.uint32))
            database.write_two_view_geometry(i + 1, j + 1, geometry)


def fits_poses(
    one: LocalFeatures,
    other: LocalFeatures,
    one_from_world: F64,
    other_from_world: F64,
    rows: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(M,) whether each match lies within EPIPOLAR_PX of its epipolar line in both photos."""
    a = _on_plane(one, rows[:, 0])
    b = _on_plane(other, rows[:, 1])
    other_from_one = other_from_world @ np.linalg.inv(one_from_world)
    x, y, z = other_from_one[:3, 3]
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ other_from_one[:3, :3]
    line_b, line_a = a @ essential.T, b @ essential
    beside = np.abs(np.sum(line_b * b, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        in_other = beside / np.linalg.norm(line_b[:, :2], axis=1)
        in_one = beside / np.linalg.norm(line_a[:, :2], axis=1)
    limit_other = EPIPOLAR_PX / other.camera.mean_focal_length()
    limit_one = EPIPOLAR_PX / one.camera.mean_focal_length()
    return (in_other <= limit_other) & (in_one <= limit_one)


def _on_plane(features: LocalFeatures, rows: NDArray[np.int64]) -> F64:
    """(M,3) points at depth 1."""
    xy = features.camera.cam_from_img(colmap_pixels(features.xy_px[rows]).astype(np.float64))
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)
