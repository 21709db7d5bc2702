"""Photos alone: poses, cameras and points by structure from motion (pycolmap)."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_reloc.errors import MappingError, missing_package
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import camera_from_colmap

from ..photos.features import FeatureStore
from ..photos.listing import PhotoFacts
from ..progress import open_bar
from .grade import agreeing_pairs
from .lenses import Lens, find_lenses, focal_errors, settle
from .matching import PairMatches, match_pairs
from .model import SceneModel, View
from .pairs import pairs_without_poses
from .sfm_database import MIN_MATCHES, SEED, VerifiedPair, hold, photo_label, verify, write_database
from .view_geometry import ViewGeometry

log = logging.getLogger(__name__)

MIN_PHOTOS = 3
ENOUGH_SHARE = 0.9  # of the photos placed: no further attempt is made
MIN_SHARE = 0.2  # of the photos, that a model must hold to be worth a map
SNAPSHOT_PHOTOS = 25  # placed between two states that an interrupted run goes on from
CACHE_VERSION = 3  # raise when the same input gives another reconstruction


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


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """The largest reconstruction of some photos."""

    model: SceneModel
    #: share of the pairs that agree on a geometry whose matches fit the poses
    pairs: float | None


def map_photos(
    store: FeatureStore,
    names: Sequence[str],
    facts: Mapping[str, PhotoFacts],
    camera: Camera | None,
    *,
    near: Sequence[np.ndarray | None] | None = None,
    progress: bool = True,
) -> Reconstructed:
    """The largest reconstruction; unit and orientation are arbitrary.

    camera: known intrinsics, kept fixed; None takes the focal length from EXIF or guesses it,
    and refines it as far as the geometry determines it. near: rough position (3,) of each
    photo, None where unknown, to choose pairs by. Notes list the photos that were not
    registered. MappingError when the photos do not overlap.
    """
    _pycolmap()  # before the long work
    lenses = lenses_of(store, names, facts, camera)
    pairs = pairs_without_poses(store, names, near)
    matches = match_pairs(store, names, pairs, progress=progress)
    return place_photos(store, names, lenses, matches, tried=len(pairs), progress=progress)


def lenses_of(
    store: FeatureStore,
    names: Sequence[str],
    facts: Mapping[str, PhotoFacts],
    camera: Camera | None,
) -> list[Lens]:
    """The cameras of photos; MappingError where `camera` is not theirs."""
    photos = [store.get(name) for name in names]
    lenses = find_lenses(names, [(p.width, p.height) for p in photos], facts, camera)
    for lens in lenses:
        log.info("%s: %d photos", lens.name, len(lens.photos))
    return lenses


def place_photos(
    store: FeatureStore,
    names: Sequence[str],
    lenses: Sequence[Lens],
    matches: Sequence[PairMatches],
    *,
    tried: int,
    progress: bool = True,
) -> Reconstructed:
    """As `map_photos` does, by matches of some of `tried` pairs."""
    pycolmap = _pycolmap()
    matches = [m for m in matches if len(m.rows) >= MIN_MATCHES]
    if not matches:
        raise MappingError(_no_overlap(names, store, tried, 0, 0, 0))
    folder = _folder(store, names, lenses, matches)
    database = folder / "database.db"
    if not database.is_file():
        write_database(pycolmap, database, store, names, lenses, matches)
    verified = verify(pycolmap, database, matches, progress=progress)
    log.info("%d of %d pairs match, %d agree on a geometry", len(matches), tried, len(verified))
    fixed = {number for number, lens in enumerate(lenses, start=1) if lens.given is not None}
    best = _reconstruct(pycolmap, folder / "free", database, fixed, len(names), progress)
    _check_size(best, names, store, tried, len(matches), len(verified))
    held, notes = _settled(pycolmap, best, lenses)
    if held:
        hold(pycolmap, database, held)
        fixed |= set(held)
        best = _reconstruct(pycolmap, folder / "held", database, fixed, len(names), progress)
        _check_size(best, names, store, tried, len(matches), len(verified))
    for note in notes:
        log.warning("%s", note)
    model = _scene(best, names, store)
    model.notes += notes
    return Reconstructed(model=model, pairs=_agreement(model, verified, matches, names, store))


def _pycolmap() -> Any:
    """The package, silent, since we tell its failures; SIGTERM stays whose it was."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        import pycolmap
    except ImportError:
        raise missing_package("pycolmap", "mapping photos without poses", "export") from None
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return pycolmap


def _folder(
    store: FeatureStore,
    names: Sequence[str],
    lenses: Sequence[Lens],
    matches: Sequence[PairMatches],
) -> Path:
    """Where what these photos, lenses and pairs give is kept."""
    identity = [
        CACHE_VERSION,
        SEED,
        [store.key(name) for name in names],
        [[lens.photos, lens.colmap(), lens.told, lens.given is not None] for lens in lenses],
        [match.pair for match in matches],
    ]
    digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
    folder = store.work / "sfm" / digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settled(
    pycolmap: Any, reconstruction: Any, lenses: Sequence[Lens]
) -> tuple[dict[int, list[float]], list[str]]:
    """Parameters of the cameras that were known better before, by id, and what to say of them."""
    held, notes = {}, []
    errors = focal_errors(pycolmap, reconstruction)
    for number, lens in enumerate(lenses, start=1):
        if number in errors:
            found = settle(lens, list(reconstruction.cameras[number].params), errors[number])
            if found is not None:
                held[number] = found[0]
                notes.append(found[1])
    return held, notes


def _agreement(
    model: SceneModel,
    verified: Sequence[VerifiedPair],
    matches: Sequence[PairMatches],
    names: Sequence[str],
    store: FeatureStore,
) -> float | None:
    """Of the verified pairs of placed photos."""
    row_of = {view.name: row for row, view in enumerate(model.views)}
    placed = [
        PairMatches(
            pair=(row_of[names[i]], row_of[names[j]]),
            rows=pair.rows,
            similarity=np.ones(len(pair.rows), np.float32),
        )
        for pair in verified
        for i, j in [pair.pair]
        if names[i] in row_of and names[j] in row_of
    ]
    xy_px = [store.get(view.name).xy_px for view in model.views]
    return agreeing_pairs(placed, ViewGeometry(model.views), xy_px)


def _check_size(
    best: Any, names: Sequence[str], store: FeatureStore, pairs: int, matched: int, verified: int
) -> None:
    registered = 0 if best is None else best.num_reg_images()
    if best is None or registered < max(MIN_PHOTOS, MIN_SHARE * len(names)):
        raise MappingError(_no_overlap(names, store, pairs, matched, verified, registered))


def _no_overlap(
    names: Sequence[str],
    store: FeatureStore,
    pairs: int,
    matched: int,
    verified: int,
    registered: int,
) -> str:
    """Why there is no map: the reason found, not one for all."""
    expected = max(MIN_PHOTOS, int(np.ceil(MIN_SHARE * len(names))))
    if len(names) < MIN_PHOTOS:
        return (
            f"{store.images}: {len(names)} {'photo' if len(names) == 1 else 'photos'}, expected "
            f"{MIN_PHOTOS} or more that show the same place from different positions"
        )
    keypoints = [len(store.get(name).xy_px) for name in names]
    if np.median(keypoints) < 4 * MIN_MATCHES:
        return (
            f"the photos show too little to tell them apart by: {int(np.median(keypoints))} "
            f"keypoints in the median photo, expected {4 * MIN_MATCHES} or more; check that they "
            f"are sharp, lit and show texture"
        )
    counts = (
        f"of {pairs} pairs {matched} match, {verified} agree on a geometry, and {registered} "
        f"photos could be placed together (expected {expected} or more)"
    )
    if verified >= len(names) - 1 and registered < expected:
        return (
            f"the {len(names)} photos match but cannot be placed: {counts}; they may be taken from "
            f"one spot (walk between photos, turning on the spot gives no depth), or the focal "
            f"length may be far off (give --camera FILE)"
        )
    return (
        f"the {len(names)} photos do not overlap enough: {counts}; take photos with two thirds "
        f"overlap"
    )


def _reconstruct(
    pycolmap: Any, folder: Path, database: Path, fixed: set[int], count: int, progress: bool
) -> Any:
    """The model with most photos, from the cache if it was finished before.

    fixed: ids of cameras that stay as they are.
    """
    folder.mkdir(exist_ok=True)
    done = folder / "model"
    if done.is_dir():
        return pycolmap.Reconstruction(str(done))
    best = None
    for number, thresholds in enumerate(ATTEMPTS):
        for model in _attempt(
            pycolmap, folder / f"attempt{number}", database, fixed, thresholds, count, progress
        ):
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
    for number in range(len(ATTEMPTS)):
        shutil.rmtree(folder / f"attempt{number}", ignore_errors=True)
    return best


def _attempt(
    pycolmap: Any,
    folder: Path,
    database: Path,
    fixed: set[int],
    thresholds: MapperThresholds,
    count: int,
    progress: bool,
) -> list[Any]:
    """The models of one way of placing photos; goes on from the last state of an earlier run."""
    models, states = folder / "models", folder / "states"
    for path in (models, states):
        path.mkdir(parents=True, exist_ok=True)
    with pycolmap.Database.open(database) as opened:
        everything = len(fixed) == opened.num_cameras()
    options = _options(pycolmap, fixed, thresholds, everything)
    options.snapshot_path, options.snapshot_frames_freq = str(states), SNAPSHOT_PHOTOS
    last = _last_state(pycolmap, states)
    with open_bar(count, "placing", "photo", shown=progress) as bar:
        arguments = {}
        if last is not None:
            bar.update(last.num_reg_images())
            start = folder / "start"
            shutil.rmtree(start, ignore_errors=True)
            start.mkdir()
            last.write(str(start))
            arguments["input_path"] = start
        found = pycolmap.incremental_mapping(
            database,
            folder,  # of photos, which only colours would be read from
            models,
            options,
            initial_image_pair_callback=lambda: bar.update(2),
            next_image_callback=lambda: bar.update(1),
            **arguments,
        )
    return list(found.values())


def _last_state(pycolmap: Any, states: Path) -> Any:
    """The newest state that can be read, None without one."""
    for path in sorted(states.iterdir(), reverse=True):
        try:
            return pycolmap.Reconstruction(str(path))
        except (ValueError, RuntimeError, OSError):
            shutil.rmtree(path, ignore_errors=True)  # cut off while it was written
    return None


def _options(pycolmap: Any, fixed: set[int], thresholds: MapperThresholds, everything: bool) -> Any:
    """everything: no camera is left to refine."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = MIN_PHOTOS
    options.random_seed = SEED
    options.num_threads = 1  # sums of several end otherwise each time
    options.extract_colors = False
    options.constant_cameras = fixed
    options.mapper.init_min_tri_angle = thresholds.start_angle_deg
    options.mapper.init_min_num_inliers = thresholds.start_inliers
    options.mapper.abs_pose_min_num_inliers = thresholds.next_inliers
    if everything:
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
    for row, name in enumerate(names):
        if photo_label(row) not in images:
            continue
        image, photo = images[photo_label(row)], store.get(name)
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
    missing = [name for row, name in enumerate(names) if photo_label(row) not in images]
    notes = [f"not registered: {', '.join(missing)}"] if missing else []
    return SceneModel(views=views, xyz=xyz, metric=False, notes=notes)
