"""What keypoints of altered copies are taught about landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from edge_reloc.bundle import open_bundle
from edge_reloc.bundle.points import PointMap, open_points
from edge_reloc_export.photos.features import PhotoFeatures
from edge_reloc_export.scene.model import View
from edge_reloc_export.training.landmarks.labelled import UNCERTAIN, _Labeller
from tests.plane_world import CAMERA, SPEC, make_plane_world

LANDMARKS = 5
MOST_LOST = 0.02  # of the keypoints that show a landmark: two points may project to one place


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[PointMap, View, PhotoFeatures]:
    """The corner's points, and a photo whose keypoints are where the points project."""
    world = make_plane_world(tmp_path_factory.mktemp("corner"), frames=1)
    points = open_points(open_bundle(world.bundle))
    cam_from_world = world.cam_from_world["000.png"]
    camera_xyz = points.xyz @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    xy = CAMERA.project(camera_xyz.astype(np.float64))
    inside = (xy >= 10) & (xy < np.array([CAMERA.width, CAMERA.height]) - 10)
    seen = np.flatnonzero(inside.all(axis=1) & (camera_xyz[:, 2] > 0))[: SPEC.keypoints]
    photo = PhotoFeatures(
        xy_px=xy[seen].astype(np.float32),
        score=np.ones(len(seen), np.float32),
        descriptor=np.asarray(points.descriptor[seen], np.float16),
        width=CAMERA.width,
        height=CAMERA.height,
    )
    view = View(
        name="000.png",
        camera=CAMERA,
        cam_from_world=cam_from_world,
        xy_px=photo.xy_px,
        point_id=seen.astype(np.int32),
        keypoint=np.arange(len(seen), dtype=np.int32),
    )
    return points, view, photo


def labeller(points: PointMap) -> _Labeller:
    """Landmarks are parts of the place, side by side."""
    edges = np.quantile(points.xyz[:, 0], np.linspace(0, 1, LANDMARKS + 1)[1:-1])
    landmark = 1 + np.searchsorted(edges, points.xyz[:, 0]).astype(np.int32)
    return _Labeller(points, SPEC, landmark)


def test_a_copy_s_keypoint_that_the_photo_s_extractor_left_out_keeps_its_landmark(
    scene: tuple[PointMap, View, PhotoFeatures],
) -> None:
    points, view, photo = scene
    labels = labeller(points)
    truth = labels.label(view, photo)
    assert (truth > 0).all()
    half = np.arange(0, len(truth), 2)
    # The photo shows every point, its extractor found every other one.
    poorer = replace(
        view,
        xy_px=view.xy_px[half],
        point_id=view.point_id[half],
        keypoint=np.arange(len(half), dtype=np.int32),
    )
    found = replace(photo, xy_px=photo.xy_px[half], descriptor=photo.descriptor[half])
    own = labels.label(poorer, found)
    taught = labels.label_copy(poorer, found, own, photo.xy_px, photo.descriptor)
    assert (taught == 0).mean() < MOST_LOST
    left_out = np.setdiff1d(np.arange(len(truth)), half)
    assert (taught[left_out] == truth[left_out]).mean() > 0.9


def test_nothing_is_taught_of_what_is_uncertain(
    scene: tuple[PointMap, View, PhotoFeatures],
) -> None:
    """A copy so dark that descriptors are lost, and the photo's keypoint is not there."""
    points, view, photo = scene
    labels = labeller(points)
    nothing = replace(photo, xy_px=photo.xy_px[:0], descriptor=photo.descriptor[:0])
    lost = -photo.descriptor
    taught = labels.label_copy(view, nothing, np.zeros(0, np.int32), photo.xy_px, lost)
    assert (taught == UNCERTAIN).all()
    # Beside no observed point the same looks are what they are: not in the map.
    away = replace(view, xy_px=view.xy_px[:1], point_id=view.point_id[:1])
    far = np.linalg.norm(photo.xy_px - away.xy_px, axis=1) > 20
    taught = labels.label_copy(away, nothing, np.zeros(0, np.int32), photo.xy_px[far], lost[far])
    assert (taught == 0).all()
