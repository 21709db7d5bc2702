"""Photos alone: poses, cameras and points by structure from motion (pycolmap)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_reloc.errors import MappingError, missing_package
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import camera_from_colmap, colmap_from_camera, colmap_pixels

from ..photos.features import FeatureStore
from ..photos.listing import PhotoFacts
from ..progress import open_bar
from .matching import PairMatches, match_pairs
from .model import SceneModel, View
from .pairs import pairs_without_poses

log = logging.getLogger(__name__)

GUESSED_FOCAL = 1.2  # of the longer side: about 45 degrees, a common lens
MIN_MATCHES = 15  # of a pair, before and after verification
MIN_PHOTOS = 3
ENOUGH_SHARE = 0.9  # of the photos placed: no further attempt is made
MIN_SHARE = 0.2  # of the photos, that a model must hold to be worth a map
SEED = 0


class MapperThresholds(NamedTuple):
    """What a first pair and a further photo need to be placed."""

    start_angle_deg: float  #: triangulation angle of the first pair, median
    start_inliers: int  #: of the first pair
    next_inliers: int  #: of a further photo's pose


# COLMAP's own, then what a walk along a street needs: its photos look ahead,
# so rays meet at small angles and few points stay in view.
ATTEMPTS = (
    MapperThresholds(16.0, 100, 30),
    MapperThresholds(4.0, 50, 20),
    MapperThresholds(2.0, 30, 15),
)


def map_photos(
    store: FeatureStore,
    names: Sequence[str],
    facts: Mapping[str, PhotoFacts],
    camera: Camera | None,
    *,
    progress: bool = True,
) -> SceneModel:
    """The largest reconstruction; unit and orientation are arbitrary.

    camera: known intrinsics, kept fixed; None takes the focal length from
    EXIF or guesses it, and refines it. Photos of one size share a camera.
    Notes list the photos that were not registered. MappingError when the
    photos do not overlap.
    """
    try:
        import pycolmap
    except ImportError:
        raise missing_package("pycolmap", "mapping photos without poses", "export") from None
    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
    pairs = pairs_without_poses(store, names)
    matches = match_pairs(store, names, pairs, progress=progress)
    matches = [m for m in matches if len(m.rows) >= MIN_MATCHES]
    if not matches:
        raise MappingError(_no_overlap(names, len(pairs), 0, 0, 0))
    known = None if camera is None else camera.to_dict()
    identity = [known, SEED, [store.key(n) for n in names], [m.pair for m in matches]]
    digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
    folder = store.work / "sfm" / digest
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "database.db"
    if not database.is_file():
        _write_database(pycolmap, database, store, names, facts, camera, matches)
    with pycolmap.Database.open(database) as opened:
        verified = int(opened.num_verified_image_pairs())
        fixed = set(opened_ids(opened)) if camera is not None else set()
    log.info("%d of %d pairs match, %d are verified", len(matches), len(pairs), verified)
    best = _reconstruct(pycolmap, folder, database, store.images, fixed, len(names), progress)
    registered = 0 if best is None else best.num_reg_images()
    if best is None or registered < max(MIN_PHOTOS, MIN_SHARE * len(names)):
        raise MappingError(_no_overlap(names, len(pairs), len(matches), verified, registered))
    return _scene(best, names, store)


def opened_ids(database: Any) -> list[int]:
    """Camera ids of an open pycolmap database."""
    return [camera.camera_id for camera in database.read_all_cameras()]


def _no_overlap(
    names: Sequence[str], pairs: int, matched: int, verified: int, registered: int
) -> str:
    return (
        f"the {len(names)} photos do not overlap enough: of {pairs} pairs {matched} match, "
        f"{verified} agree on a geometry, and {registered} photos could be placed together "
        f"(expected {max(MIN_PHOTOS, int(MIN_SHARE * len(names)))} or more); "
        f"take photos with two thirds overlap, walking rather than turning on the spot"
    )


def _write_database(
    pycolmap: Any,
    path: Path,
    store: FeatureStore,
    names: Sequence[str],
    facts: Mapping[str, PhotoFacts],
    camera: Camera | None,
    matches: Sequence[PairMatches],
) -> None:
    """Features and verified matches; appears whole when all is done."""
    temporary = path.with_suffix(".part")
    temporary.unlink(missing_ok=True)
    camera_ids: dict[tuple[int, int], int] = {}
    ids: list[int] = []
    with pycolmap.Database.open(temporary) as database:
        for name in names:
            photo = store.get(name)
            size = (photo.width, photo.height)
            if size not in camera_ids:
                camera_ids[size] = _write_camera(pycolmap, database, size, names, facts, camera)
            rig = database.read_rig_with_sensor(
                pycolmap.sensor_t(pycolmap.SensorType.CAMERA, camera_ids[size])
            )
            image = pycolmap.Image(name=name, camera_id=camera_ids[size])
            image.image_id = database.write_image(image)
            frame = pycolmap.Frame()
            frame.rig_id = rig.rig_id
            frame.add_data_id(image.data_id)
            database.write_frame(frame)
            database.write_keypoints(image.image_id, colmap_pixels(photo.xy_px))
            ids.append(image.image_id)
        listing = []
        for match in matches:
            i, j = match.pair
            database.write_matches(ids[i], ids[j], match.rows.astype(np.uint32))
            listing.append(f"{names[i]} {names[j]}")
    pairs_file = path.with_name("pairs.txt")
    pairs_file.write_text("\n".join(listing) + "\n")
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = MIN_MATCHES
    options.ransac.random_seed = SEED
    log.info("verifying %d pairs", len(listing))
    pycolmap.verify_matches(temporary, pairs_file, options)
    os.replace(temporary, path)


def _write_camera(
    pycolmap: Any,
    database: Any,
    size: tuple[int, int],
    names: Sequence[str],
    facts: Mapping[str, PhotoFacts],
    camera: Camera | None,
) -> int:
    width, height = size
    if camera is not None:
        model, params = colmap_from_camera(camera.scaled_to(width, height))
        prior = True
    else:
        focal = [
            fact.focal_px
            for fact in (facts[n] for n in names if n in facts)
            if (fact.width, fact.height) == size and fact.focal_px is not None
        ]
        prior = bool(focal)
        value = float(np.median(focal)) if focal else GUESSED_FOCAL * max(size)
        log.info(
            "camera %dx%d: focal length %s %.0f px", *size, "EXIF" if prior else "guessed", value
        )
        model, params = "SIMPLE_RADIAL", [value, width / 2, height / 2, 0.0]
    entry = pycolmap.Camera(model=model, width=width, height=height, params=params)
    entry.has_prior_focal_length = prior
    entry.camera_id = database.write_camera(entry)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, entry.camera_id))
    database.write_rig(rig)
    return int(entry.camera_id)


def _reconstruct(
    pycolmap: Any,
    folder: Path,
    database: Path,
    images: Path,
    fixed: set[int],
    count: int,
    progress: bool,
) -> Any:
    """The model with most photos, from the cache if it was finished before."""
    done = folder / "model"
    if done.is_dir():
        return pycolmap.Reconstruction(str(done))
    best = None
    for thresholds in ATTEMPTS:
        options = _options(pycolmap, fixed, thresholds)
        attempts = folder / "attempts"
        shutil.rmtree(attempts, ignore_errors=True)
        attempts.mkdir()
        with open_bar(count, "placing", "photo", shown=progress) as bar:
            models = pycolmap.incremental_mapping(
                database,
                images,
                attempts,
                options,
                initial_image_pair_callback=lambda bar=bar: bar.update(2),
                next_image_callback=lambda bar=bar: bar.update(1),
            )
        for model in models.values():
            size = (model.num_reg_images(), model.num_points3D())
            if best is None or size > (best.num_reg_images(), best.num_points3D()):
                best = model
        if best is not None and best.num_reg_images() >= ENOUGH_SHARE * count:
            break
    if best is None:
        return None
    temporary = folder / "model.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    best.write(str(temporary))
    temporary.rename(done)
    return best


def _options(pycolmap: Any, fixed: set[int], thresholds: MapperThresholds) -> Any:
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = MIN_PHOTOS
    options.random_seed = SEED
    options.extract_colors = False
    options.constant_cameras = fixed
    options.mapper.init_min_tri_angle = thresholds.start_angle_deg
    options.mapper.init_min_num_inliers = thresholds.start_inliers
    options.mapper.abs_pose_min_num_inliers = thresholds.next_inliers
    if fixed:
        options.ba_refine_focal_length = options.ba_refine_extra_params = False
        options.mapper.abs_pose_refine_focal_length = False
        options.mapper.abs_pose_refine_extra_params = False
    return options


def _scene(reconstruction: Any, names: Sequence[str], store: FeatureStore) -> SceneModel:
    """Our model of a pycolmap reconstruction; keypoint rows are our own."""
    row_of = {point_id: row for row, point_id in enumerate(sorted(reconstruction.points3D))}
    xyz = np.array([reconstruction.points3D[p].xyz for p in row_of]).reshape(-1, 3)
    images = {image.name: image for image in reconstruction.images.values() if image.has_pose}
    views = []
    for name in names:
        if name not in images:
            continue
        image, photo = images[name], store.get(name)
        entry = reconstruction.cameras[image.camera_id]
        camera = camera_from_colmap(
            entry.model_name, entry.width, entry.height, list(entry.params), "structure from motion"
        )
        keypoint = np.array(
            [k for k, p in enumerate(image.points2D) if p.has_point3D()], dtype=np.int32
        )
        point = np.array(
            [row_of[p.point3D_id] for p in image.points2D if p.has_point3D()], dtype=np.int32
        )
        # A track may meet a photo twice there; here each photo sees a point once.
        _, first = np.unique(point, return_index=True)
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().matrix()
        views.append(
            View(
                name=name,
                camera=camera,
                cam_from_world=pose,
                xy_px=photo.xy_px[keypoint[first]],
                point_id=point[first],
                keypoint=keypoint[first],
                quarter_turns=store.turns.get(name, 0),
            )
        )
    missing = [name for name in names if name not in images]
    notes = [f"not registered: {', '.join(missing)}"] if missing else []
    return SceneModel(views=views, xyz=xyz, metric=False, notes=notes)
