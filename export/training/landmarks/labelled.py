"""Keypoints with their landmarks: what the recogniser learns from.

A mapping photo gives itself and some augmented copies: turned, scaled, tilted, darker,
blurred, with features extracted again. PRAM, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F32, I32, I64, U8, Bool
from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.points import PointMap
from edge_reloc.features import FeatureSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.guided import GuidedMatcher
from edge_reloc.sources.photo import read_photo
from edge_reloc.stages import Extractor
from edge_reloc.structs import Correspondences, Features, Frame

from ...photos.features import PhotoFeatures
from ...progress import Progress, silent
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel, View
from ..augmentation import altered_copy

UNCERTAIN = -1  # label of a keypoint of which nothing is taught
SAME_PX = 3.0  # at 640 pixels width: a keypoint found again, or where its point projects
SLACK = 0.12  # similarity that a match in the right place may lack, as in the second pass


@dataclass(frozen=True, kw_only=True)
class LabelledKeypoints:
    """B entries: entry b has rows start[b] to start[b+1] of T, best keypoints first."""

    start: I64  #: (B+1,)
    ray: F32  #: (T,2): x/z, y/z
    descriptor: NDArray[np.float16]  #: (T,D)
    label: I32  #: (T,), 0 for no landmark, UNCERTAIN where it may show one
    view: I64  #: (B,): the photo that an entry comes from
    whole: Bool  #: (B,): the photo itself, not an altered copy


@dataclass(frozen=True, kw_only=True)
class _Entry:
    ray: F32
    descriptor: NDArray[np.float16]
    label: I32


def label_photos(
    bundle: MapBundle,
    points: PointMap,
    model: SceneModel,
    store: PhotoStore,
    label: I32,
    *,
    copies: int,
    observed_only: bool = False,
    progress: Progress = silent,
) -> LabelledKeypoints:
    """Entries of every mapping photo; label (P,): landmark of each point.

    observed_only: a keypoint shows the point that was triangulated from it, or nothing, as
    published; by default also a similar point that projects there.
    """
    spec = bundle.manifest.features
    labeller = _Labeller(points, spec, label)
    again = _Reextractor(bundle, spec)
    generator = np.random.default_rng(0)
    entries: list[_Entry] = []
    views, whole = [], []
    for index, view in enumerate(model.views):
        photo = store.get(view.name)
        if observed_only:
            original = observed_labels(view, label, len(photo.xy_px))
        else:
            original = labeller.label(view, photo)
        entries.append(_entry(view.camera, photo.xy_px, photo.descriptor, original))
        views.append(index)
        whole.append(True)
        if copies:
            image = read_photo(store.photo(view.name), grey=False)
            for _ in range(copies):
                copy = _augmented(again, labeller, image, view, photo, original, generator)
                entries.append(copy)
                views.append(index)
                whole.append(False)
        progress(index + 1, len(model.views))
    return LabelledKeypoints(
        start=np.cumsum([0] + [len(e.label) for e in entries]),
        ray=np.concatenate([e.ray for e in entries]),
        descriptor=np.concatenate([e.descriptor for e in entries]),
        label=np.concatenate([e.label for e in entries]),
        view=np.array(views),
        whole=np.array(whole),
    )


def observed_labels(view: View, label: I32, keypoints: int) -> I32:
    """(N,): landmark of the point that each keypoint observes, else 0 (section 3.3)."""
    own = np.zeros(keypoints, np.int32)
    own[view.keypoint] = label[view.point_id]
    return own


class _Labeller:
    """Landmark of each keypoint of a mapping photo or of a copy of it."""

    def __init__(self, points: PointMap, spec: FeatureSpec, label: I32) -> None:
        self._label, self._spec = label, spec
        self._matcher = GuidedMatcher(points, min_similarity=spec.min_similarity - SLACK)
        arena = Arena()
        self._features = Features(arena, spec.keypoints, spec.dim, 0)
        self._found = Correspondences(arena, spec.keypoints)

    def label(self, view: View, photo: PhotoFeatures) -> I32:
        """(N,): of the observed point, else of the similar point that projects there."""
        label = self._projected(view, photo.xy_px, photo.descriptor)
        label[view.keypoint] = self._label[view.point_id]
        return _with_uncertain(label, view, photo.xy_px)

    def label_copy(
        self,
        view: View,
        photo: PhotoFeatures,
        label: I32,
        there: F32,
        descriptor: NDArray[np.float16],
    ) -> I32:
        """(M,): of a copy's keypoints, at pixels (M,2) of the photo with these labels (N,).

        That of the photo's own keypoint there, else of the similar point that projects
        there: what the photo's extractor left out and the copy's found may well show one.
        """
        found = self._projected(view, there, descriptor)
        if len(label):
            distance, nearest = KDTree(np.ascontiguousarray(photo.xy_px)).query(
                np.ascontiguousarray(there), k=1
            )
            own = label[np.minimum(nearest, len(label) - 1)]
            found = np.where((distance <= _radius_px(view)) & (own > 0), own, found)
        return _with_uncertain(found.astype(np.int32), view, there)

    def _projected(self, view: View, xy_px: F32, descriptor: NDArray[np.float16]) -> I32:
        """(N,): of the similar point that projects to a keypoint, 0 for none."""
        features, n = self._features, len(xy_px)
        features.n = n
        features.xy_px[:n], features.descriptor[:n] = xy_px, descriptor
        self._matcher.forget()
        self._matcher.match(
            view.camera, view.cam_from_world, features, _radius_px(view), self._found
        )
        m = self._found.n
        label = np.zeros(n, np.int32)
        label[self._found.keypoint[:m]] = self._label[self._found.point_id[:m]]
        return label


def _radius_px(view: View) -> float:
    """How far from each other two pixels of a photo may be that show the same."""
    return SAME_PX * max(view.camera.width, view.camera.height) / 640


def _with_uncertain(label: I32, view: View, xy_px: F32) -> I32:
    """Labels (N,), UNCERTAIN where none was found beside a point that the photo observes.

    To call these "not in the map" would teach that of what landmarks look like.
    """
    if len(view.xy_px) and len(xy_px):
        observed = KDTree(np.ascontiguousarray(view.xy_px))
        near = observed.query(np.ascontiguousarray(xy_px), k=1)[0] <= _radius_px(view)
        label[near & (label == 0)] = UNCERTAIN
    return label


class _Reextractor:
    """Features of altered photos, by the runtime's own extractor."""

    def __init__(self, bundle: MapBundle, spec: FeatureSpec) -> None:
        self._bundle, self._spec, self._arena = bundle, spec, Arena()
        self._out = Features(self._arena, spec.keypoints, spec.dim, 0, spec.place_dim)
        self._of_size: dict[tuple[int, int], Extractor] = {}

    def extract(self, image: U8, quarter_turns: int) -> Features:
        """Valid until the next call."""
        height, width = image.shape[:2]
        size = (height, width) if quarter_turns % 2 else (width, height)
        camera = Camera(model="pinhole", width=size[0], height=size[1], fx=1, fy=1, cx=0, cy=0)
        if size not in self._of_size:
            self._of_size[size] = open_extractor(
                self._spec,
                camera,
                lambda file: open_engine(self._bundle.path(file), self._arena),
            )
        frame = Frame(image=image, t_ns=0, camera=camera, quarter_turns=quarter_turns)
        self._of_size[size].extract(frame, self._out)
        return self._out


def _entry(camera: Camera, xy_px: F32, descriptor: NDArray[np.float16], label: I32) -> _Entry:
    rays = camera.rays_from_pixels(np.asarray(xy_px, np.float64))
    return _Entry(ray=np.asarray(rays, np.float32), descriptor=descriptor, label=label)


def _augmented(
    again: _Reextractor,
    labeller: _Labeller,
    image: U8,
    view: View,
    photo: PhotoFeatures,
    label: I32,
    generator: np.random.Generator,
) -> _Entry:
    """An altered copy of a photo with these labels (N,)."""
    altered, photo_from_copy = altered_copy(image, generator)
    out = again.extract(altered, view.quarter_turns)
    xy, descriptor = out.xy_px[: out.n], out.descriptor[: out.n].astype(np.float16)
    there = cv2.perspectiveTransform(xy[None].astype(np.float64), photo_from_copy)[0]
    size = np.array([photo.width, photo.height])
    inside = ((there >= 2) & (there < size - 2)).all(axis=1)
    xy, there, descriptor = xy[inside], there[inside].astype(np.float32), descriptor[inside]
    found = labeller.label_copy(view, photo, label, there, descriptor)
    return _entry(view.camera, xy, descriptor, found)


def keypoints_of(data: LabelledKeypoints, entries: I64) -> Iterator[slice]:
    """Rows of each entry."""
    for entry in entries:
        yield slice(int(data.start[entry]), int(data.start[entry + 1]))
