"""`edge-reloc map` with known poses, the points by pycolmap.

    python tests/benchmarks/triangulation.py --images DATA/fox/images --poses DATA/fox/reference \\
        --list DATA/fox/mapping.txt --gps none --output maps/fox_colmap

Takes the options of `edge-reloc map`; score both maps by `edge-reloc evaluate`. For photos of
one camera.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pycolmap

from edge_reloc_export import map
from edge_reloc_export.photos.features import FeatureStore
from edge_reloc_export.scene import posed, sfm
from edge_reloc_export.scene.lenses import Lens
from edge_reloc_export.scene.matching import match_pairs
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.scene.pairs import pairs_with_poses
from edge_reloc_export.scene.sfm_database import (
    MIN_MATCHES,
    SEED,
    photo_label,
    verify,
    write_database,
)
from edge_reloc_export.scene.triangulate import TriangulationOptions, check_epipolar
from edge_reloc_export.scene.view_geometry import ViewGeometry


def map_posed(
    views: Sequence[View],
    store: FeatureStore,
    options: TriangulationOptions,
    *,
    progress: bool = True,
) -> SceneModel:
    """Like the one of `scene/posed.py`, from the same matches."""
    geometry, names = ViewGeometry(views), [view.name for view in views]
    xy_px = [store.get(name).xy_px for name in names]
    pairs = pairs_with_poses(store, geometry, xy_px, options)
    matches = match_pairs(store, names, pairs)
    started = time.process_time()
    matches = check_epipolar(matches, geometry, xy_px, options)
    matches = [match for match in matches if len(match.rows) >= MIN_MATCHES]
    pose_of = {
        photo_label(row): pycolmap.Rigid3d(view.cam_from_world[:3])
        for row, view in enumerate(views)
    }
    camera = views[0].camera
    lens = Lens(
        size=(camera.width, camera.height),
        photos=tuple(range(len(views))),
        focal_px=camera.fx,
        relative_std=0.0,
        source="the model",
        given=camera,
    )
    scene = pycolmap.Reconstruction()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "database.db"
        write_database(pycolmap, path, store, names, [lens], matches)
        verify(pycolmap, path, matches, progress=False)
        written = time.process_time()
        with pycolmap.Database.open(path) as database:
            for camera in database.read_all_cameras():
                scene.add_camera_with_trivial_rig(camera)
            for image in database.read_all_images():
                image.points2D = [
                    pycolmap.Point2D(xy[:2]) for xy in database.read_keypoints(image.image_id)
                ]
                scene.add_image_with_trivial_frame(image, pose_of[image.name])
        scene = pycolmap.triangulate_points(scene, path, store.images, folder, True, settings())
    ended = time.process_time()
    print(f"verification {written - started:.1f} s, triangulation {ended - written:.1f} s of CPU")
    model = sfm._scene(scene, names, store)
    length = np.bincount(np.concatenate([view.point_id for view in model.views]))
    return model.keep_points(length >= options.min_length)


def settings() -> pycolmap.IncrementalPipelineOptions:
    """Nearly our own tolerances: with COLMAP's 4 px poses were worse."""
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed, options.num_threads, options.extract_colors = SEED, 1, False
    options.mapper.filter_max_reproj_error = TriangulationOptions().reprojection_px
    options.triangulation.complete_max_reproj_error = 2.0
    options.triangulation.merge_max_reproj_error = 2.0
    return options


def main() -> int:
    """Exit code of the mapping."""
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    with patch.object(posed, "map_posed", map_posed):
        return map.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
