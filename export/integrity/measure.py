"""What a map's poses are off by, measured on mapping photos that were left out of it.

Neighbourhoods of three sizes are left out one after the other, and photos of them localised
against the rest; poses before the second pass and after it are measured apart. A factor on the
covariance is chosen so that 95 % of the errors lie where it says, as conformal prediction does
(Vovk et al., Algorithmic Learning in a Random World, 2005), and grows with the angle between a
frame's rays and those of mapping. The tail beyond is Hill's (Annals of Statistics, 1975). What
right poses show is kept, too: pose/plausibility.py compares frames with it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_reloc.arrays import F32, F64, I32
from edge_reloc.bundle import MapBundle, extend_bundle, open_bundle
from edge_reloc.bundle.layout import VIEW_EMBEDDING
from edge_reloc.bundle.manifest import CovarianceScale, Integrity, Manifest, Plausibility, Usual
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import NORMALISED_95, camera_centre, normalised_error, pose_error
from edge_reloc.inference.planned import PlannedEngines
from edge_reloc.localizer import Extracted, Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import assemble
from edge_reloc.methods.table import IMAGE_RETRIEVAL
from edge_reloc.pose.registration import OnePass
from edge_reloc.pose.viewing import viewing_angles
from edge_reloc.structs import Correspondences, Evidence, Features, Frame, PoseEstimate

from ..cluster.executor import Executor
from ..packing.class_tokens import network_of_embedding
from ..packing.pack import PACKED_MODEL
from ..photos.features import PhotoFeatures
from ..progress import open_bar
from ..scene.combine import PhotoStore
from ..scene.model import SceneModel, View, load_model
from .leave_out import neighbourhoods, write_without

log = logging.getLogger(__name__)

SHARES = (0.12, 0.3, 0.5)  # of all photos, left out at once
NEIGHBOURHOODS, PHOTOS = 3, 14  # of each share; tried of each neighbourhood
FEWEST_VIEWS = 15  # with fewer, what stays is another map
FEWEST_ERRORS = 20  # for a quantile of 95 %
# What is known of the growth before it is seen: as on other maps. In squared angles over
# squared scatter of the logarithm.
PRIOR_PER_RADIAN, PRIOR_WEIGHT = 1.0, 1.6
MOST_PER_RADIAN = 3.0
TAIL_SHARE, HEAVIEST_TAIL, LIGHTEST_TAIL = 0.2, 2.0, 6.0
# A pose is right up to this share of the distance to what the photo looks at, and this angle.
RIGHT_SHARE, RIGHT_DEG = 0.02, 1.0
# Scatter of evidence from place to place within a map, that a few photos do not show.
EXPLAINED_SCATTER, CONCENTRATION_SCATTER = 0.25, 0.1
FEWEST_RIGHT = 15  # for a standard deviation

_Answer = tuple[list["Try"], list["Try"]]
NO_IMAGE = Frame(image=np.zeros((1, 1), np.uint8), t_ns=0)  # features are all that is needed


class Try(NamedTuple):
    """One pose of a photo that was left out."""

    #: error, in units of the solver's covariance
    squared: float
    #: between its rays and those of mapping, radians
    angle: float
    right: bool
    evidence: Evidence
    #: of the position, and its standard deviation by the solver's covariance, map units
    error: float
    claimed: float
    #: name of the photo
    view: str = ""


class PoseErrors(NamedTuple):
    """Of N poses: squared error (N,) in units of the solver's covariance; angle (N,), rad."""

    squared: F64
    angle: F64


def measure(
    bundle: Path,
    model: SceneModel,
    store: PhotoStore,
    *,
    workers: Executor | None = None,
    progress: bool = True,
) -> Integrity | None:
    """Measure a map and tell its bundle; None, and the bundle as it was, for too few photos.

    model: with points in the bundle's order, as the store's work folder has it (PACKED_MODEL).
    workers: who try; None for this process.
    """
    seeing = sum(1 for view in model.views if len(view.point_id))
    if seeing < FEWEST_VIEWS:
        log.info("%d photos: too few to leave some out, errors are guessed", seeing)
        return None
    first, refined = left_out_tries(bundle, model, store, workers=workers, progress=progress)
    fewest = min(len(first), len(refined))
    if fewest < FEWEST_ERRORS:
        log.info("%d photos were localised without their neighbours: too few", fewest)
        return None
    found = Integrity(
        photos=len(refined),
        first=fit_scale(_as_errors(first)),
        refined=fit_scale(_as_errors(refined)),
        plausibility=fit_plausibility(first, refined),
    )
    with extend_bundle(bundle) as writer:
        writer.manifest.integrity = found
    return found


def fit_scale(errors: PoseErrors) -> CovarianceScale:
    """Scale that holds 95 % of errors, their growth with the angle, and their tail."""
    level = np.log(np.maximum(errors.squared, 1e-12) / 6.0)
    mean = float(errors.angle.mean())
    away = errors.angle - mean
    grown = (away @ level + PRIOR_WEIGHT * PRIOR_PER_RADIAN) / (away @ away + PRIOR_WEIGHT)
    slope = float(np.clip(grown, 0.0, MOST_PER_RADIAN))
    beyond = np.maximum(away, 0.0)  # frames nearer to mapping's rays are not trusted more
    square = np.sort(errors.squared * np.exp(-slope * beyond)) / NORMALISED_95
    rank = min(ceil((len(square) + 1) * 0.95), len(square))
    factor = max(float(square[rank - 1]), 1.0)
    return CovarianceScale(
        factor=factor, angle_rad=mean, per_radian=slope, tail=_tail(np.sqrt(square))
    )


def fit_plausibility(first: Sequence[Try], refined: Sequence[Try]) -> Plausibility | None:
    """What right poses show, without and with the second pass; None for too few of them."""
    usual = [usual_of([t.evidence for t in tries if t.right]) for tries in (first, refined)]
    if usual[0] is None or usual[1] is None:
        return None
    return Plausibility(first=usual[0], refined=usual[1])


def usual_of(evidence: Sequence[Evidence]) -> Usual | None:
    """Of right poses; None for too few."""
    if len(evidence) < FEWEST_RIGHT:
        return None
    mean, scatter = np.mean(evidence, axis=0), np.std(evidence, axis=0)
    scatter = np.hypot(scatter, (EXPLAINED_SCATTER, CONCENTRATION_SCATTER))
    return Usual(
        explained=(float(mean[0]), float(scatter[0])),
        concentration=(float(mean[1]), float(scatter[1])),
    )


def _tail(size: F64) -> float:
    """Index of the tail of sizes (N,), ascending."""
    beyond = size[-max(round(TAIL_SHARE * len(size)), 2) :]
    logs = np.log(beyond / beyond[0])
    index = (len(beyond) - 1) / max(float(logs.sum()), 1e-9)
    return float(np.clip(index, HEAVIEST_TAIL, LIGHTEST_TAIL))


def left_out_tries(
    bundle: Path,
    model: SceneModel,
    store: PhotoStore,
    shares: Sequence[float] = SHARES,
    *,
    workers: Executor | None = None,
    progress: bool = True,
) -> tuple[list[Try], list[Try]]:
    """Poses of photos that were left out, without and with the second pass.

    model: with points in the bundle's order. shares: of all photos, left out at once.
    """
    left_out = [
        rows
        for share in shares
        for rows in neighbourhoods(model.views, model.xyz, NEIGHBOURHOODS, share)
    ]
    folder = store.work / "left_out"
    with open_bar(len(left_out), "leaving out", "neighbourhood", shown=progress) as bar:
        if workers is None:
            answers = tried_here(bundle, model, store, left_out, folder)
        else:
            packed = store.work / PACKED_MODEL
            arguments = [
                (bundle, packed, store, rows, folder / str(n)) for n, rows in enumerate(left_out)
            ]
            answers = workers.gather([workers.submit(tries_without, *each) for each in arguments])
        found: tuple[list[Try], list[Try]] = ([], [])
        for answer in answers:
            for tries, more in zip(found, answer, strict=True):
                tries += more
            bar.update()
    shutil.rmtree(folder, ignore_errors=True)
    return found


def tried_here(
    bundle: Path, model: SceneModel, store: PhotoStore, left_out: Sequence[I32], folder: Path
) -> Iterator[_Answer]:
    """The tries of each neighbourhood (rows of the views), without and with the second pass."""
    checked: set[str] = set()
    for rows in left_out:
        write_without(model, bundle, rows, folder / "map")
        rest = open_bundle(folder / "map")
        rest.checked_networks |= checked  # of every rest they are the same
        yield _tries(rest, _spread(bundle, model, rows), model, store)
        checked = rest.checked_networks


def tries_without(
    bundle: Path, packed: Path, store: PhotoStore, rows: I32, folder: Path
) -> _Answer:
    """A unit of work: the tries of one neighbourhood (rows of the views), in a folder of its own.

    A few numbers come back; packed: file of the model.
    """
    model = load_model(packed)
    write_without(model, bundle, rows, folder)
    return _tries(open_bundle(folder), _spread(bundle, model, rows), model, store)


def _spread(bundle: Path, model: SceneModel, rows: I32) -> list[tuple[View, F32]]:
    """Some views, near the middle and far from it, with their embeddings in the whole map."""
    embedding = open_bundle(bundle).array(VIEW_EMBEDDING)
    count = min(PHOTOS, len(rows))
    chosen = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    return [(model.views[n], np.asarray(embedding[n], np.float32)) for n in chosen]


def _tries(
    bundle: MapBundle, photos: Iterable[tuple[View, F32]], model: SceneModel, store: PhotoStore
) -> tuple[list[Try], list[Try]]:
    """Of each photo that was localised, before the second pass and after it.

    photos: with their embeddings (E,) in the whole map.
    """
    features = features_room(bundle.manifest)
    localizers: dict[Camera, _TellsBoth] = {}
    found: tuple[list[Try], list[Try]] = ([], [])
    for view, embedding in photos:
        if view.camera not in localizers:
            localizers[view.camera] = _TellsBoth(bundle, view.camera)
        fill_features(features, store.get(view.name))
        features.embedding[:] = embedding  # local features embed themselves again
        for tries, pose in zip(found, localizers[view.camera].locate(features), strict=True):
            if pose is not None:
                tries.append(_compared(pose, view, model))
    for localizer in localizers.values():
        localizer.close()
    return found


class _Pose(NamedTuple):
    """A pose, and the angle (I,) of each inlier's ray with those of mapping, radians."""

    estimate: PoseEstimate
    angles: F64


class _Embedded:
    """Stands for a network: features have their embedding already."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def embed(self, frame: Frame, features: Features) -> None:
        """Nothing."""


class _TellsBoth:
    """A localiser that says where it was before its second pass, too."""

    def __init__(self, bundle: MapBundle, camera: Camera) -> None:
        settings = Settings(
            method=IMAGE_RETRIEVAL.name,
            second_pass=True,
            calibration_check=False,
            min_p_right=0.0,
        )
        # Features come from the cache: no network runs.
        line = assemble(bundle, camera, settings, PlannedEngines(bundle, Arena()))
        assert line.embedder is not None  # the method retrieves photos
        if network_of_embedding(bundle) is not None:
            line = replace(line, embedder=_Embedded(line.embedder.dim))
        self._line = line
        self._localizer = Localizer(self._line)
        registration = self._line.registration
        assert isinstance(registration, OnePass) and registration.refiner is not None
        self._second_pass = registration.refiner
        registration.refiner = self
        self._first: _Pose | None = None

    def locate(self, features: Features) -> tuple[_Pose | None, _Pose | None]:
        """Before and after."""
        self._first = None
        camera = self._line.camera
        found = self._localizer.locate(
            Extracted(frame=NO_IMAGE, camera=camera, features=features, laps={})
        )
        return self._first, self._seen(found.estimate, found.matches.point_id)

    def refine(
        self, camera: Camera, features: Features, first: PoseEstimate, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """Note what it begins with."""
        judged = self._line.monitor.judge(first, matches)
        judged = self._line.plausibility.judge(camera, features, matches, judged)
        self._first = self._seen(judged, matches.point_id)
        return self._second_pass.refine(camera, features, first, matches)

    def around(
        self, camera: Camera, features: Features, rough: F64, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """As the second pass does."""
        return self._second_pass.around(camera, features, rough, matches)

    def close(self) -> None:
        """Give its threads back."""
        self._localizer.close()

    def _seen(self, estimate: PoseEstimate, point_id: I32) -> _Pose | None:
        """None where there is no pose; point_id (M,) of the correspondences."""
        pose, points, index = estimate.cam_from_world, self._line.points, estimate.inlier_index
        if pose is None or estimate.covariance is None or index is None or points is None:
            return None
        angles = viewing_angles(points, point_id[index], pose)
        assert angles is not None  # the map has just been written with directions
        return _Pose(estimate, angles)


def _compared(found: _Pose, view: View, model: SceneModel) -> Try:
    """With the pose that the photo was mapped with."""
    pose, covariance = found.estimate.cam_from_world, found.estimate.covariance
    evidence = found.estimate.evidence
    assert pose is not None and covariance is not None
    assert evidence is not None  # there are inliers
    error = pose_error(pose, view.cam_from_world)
    right = error.translation <= right_within(distance_of(model, view))
    return Try(
        normalised_error(pose, covariance, view.cam_from_world),
        float(np.median(found.angles)),
        right and error.rotation_deg <= RIGHT_DEG,
        evidence,
        error.translation,
        float(np.sqrt(np.trace(covariance[3:, 3:]))),
        view.name,
    )


def features_room(manifest: Manifest) -> Features:
    """For what is known of one photo."""
    spec, embedding = manifest.features, manifest.embedding
    dim = 0 if embedding is None else embedding.dim
    return Features(Arena(), spec.keypoints, spec.dim, dim, spec.place_dim)


def fill_features(out: Features, photo: PhotoFeatures) -> None:
    """As the extractor does, from what it said of the photo when it was mapped."""
    n = out.n = min(len(photo.xy_px), out.capacity)
    out.xy_px[:n] = photo.xy_px[:n]
    out.score[:n] = photo.score[:n]
    out.descriptor[:n] = photo.descriptor[:n]
    place = photo.pooled_place()
    if place is not None:
        out.place[:] = place


def right_within(distance: float) -> float:
    """Error of the position up to which a pose at a distance is right, in the same units."""
    return RIGHT_SHARE * distance


def distance_of(model: SceneModel, view: View) -> float:
    """To what a photo looks at, in the median, map units."""
    centre = camera_centre(view.cam_from_world)
    return float(np.median(np.linalg.norm(model.xyz[view.point_id] - centre, axis=1)))


def _as_errors(tries: Sequence[Try]) -> PoseErrors:
    return PoseErrors(np.array([t.squared for t in tries]), np.array([t.angle for t in tries]))
