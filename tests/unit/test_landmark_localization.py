"""Both registrations, and tracking, in the mapped corner with exact truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.bundle import MapBundle, extend_bundle, layout, open_bundle
from edge_reloc.bundle.points import open_points
from edge_reloc.errors import BundleError, ConfigError, StaleViewError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, pose_error, so3_exp
from edge_reloc.inference.engine import Engine
from edge_reloc.inference.engines import Engines
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.pose.tracking import OLDEST_NS, Tracker
from edge_reloc.retrieval.landmarks import open_landmarks
from edge_reloc.stages import Registration
from edge_reloc.structs import Frame, Localization, PoseEstimate, Status, Work
from edge_reloc_export.packing.birch import birch
from tests.plane_world import CAMERA, SPEC, PlaneWorld, make_plane_world

LANDMARKS = 6
REFERENCE_FRAMES = [f"{2 * k:03d}.png" for k in range(LANDMARKS)]
KEYPOINTS = 512  # that the recogniser takes, of 800
# SIFT on renders of 480 pixels width, 3 m away
TRANSLATION_TOLERANCE_M, ROTATION_TOLERANCE_DEG = 0.02, 0.4
FRAME_NS = 33_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> PlaneWorld:
    """The corner with landmarks on its ground plane; the network is put in below."""
    world = make_plane_world(tmp_path_factory.mktemp("corner"), frames=12)
    points = open_points(open_bundle(world.bundle))
    label = birch(np.asarray(points.xyz[:, :2], float), LANDMARKS)
    order = np.argsort(label, kind="stable").astype(np.int32)
    start = np.searchsorted(label[order], np.arange(LANDMARKS + 1)).astype(np.int32)
    with extend_bundle(world.bundle) as bundle:
        bundle.add_array(layout.LANDMARK_START, start)
        bundle.add_array(layout.LANDMARK_POINT_ID, order)
        frames = [world.cam_from_world[name] for name in REFERENCE_FRAMES]
        bundle.add_array(layout.LANDMARK_CAM_FROM_WORLD, np.stack(frames))
        bundle.add_array(layout.LANDMARK_CAMERA, np.zeros(LANDMARKS, np.int32))
        bundle.add_bytes("nets/landmarks.onnx", b"stands in for a network")
        bundle.manifest.methods["landmarks"] = {
            "network": "nets/landmarks.onnx",
            "most": LANDMARKS,
            "registration": "one_pass",
            "second_pass": False,
        }
    return world


class NearestLandmark:
    """Recognises by the nearest descriptor of the map; `blind` sees nothing of it."""

    def __init__(self, bundle: MapBundle) -> None:
        points = open_points(bundle)
        landmarks = open_landmarks(bundle)
        self._descriptor = np.asarray(points.descriptor, np.float32)
        self._label = np.zeros(points.n, int)
        for k in range(1, landmarks.count + 1):
            self._label[landmarks.of(k)] = k
        self.inputs = {
            "descriptor": np.zeros((1, KEYPOINTS, SPEC.dim), np.float32),
            "ray": np.zeros((1, KEYPOINTS, 2), np.float32),
            "mask": np.zeros((1, KEYPOINTS), np.float32),
        }
        self.outputs = {"probability": np.zeros((1, KEYPOINTS, LANDMARKS + 1), np.float32)}
        self.blind = False
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        nearest = (self.inputs["descriptor"][0] @ self._descriptor.T).argmax(axis=1)
        label = 0 if self.blind else self._label[nearest]
        # The more of a landmark is seen, the surer.
        seen = np.bincount(np.broadcast_to(label, KEYPOINTS)) / KEYPOINTS
        confidence = 0.95 if self.blind else 0.5 + 0.4 * seen[label]
        self.outputs["probability"][0] = 0.01
        self.outputs["probability"][0, np.arange(KEYPOINTS), label] = confidence

    def close(self) -> None:
        """Nothing to give back."""


class Opened(Engines):
    """Every network is the one above."""

    recogniser: NearestLandmark

    def _open(self, network: str) -> Engine:
        Opened.recogniser = NearestLandmark(self.bundle)
        return Opened.recogniser


def opened(world: PlaneWorld, **settings: object) -> Localizer:
    return Localizer.open(
        open_bundle(world.bundle),
        CAMERA,
        Settings(method="landmarks", threads=1, **settings),
        engines=lambda bundle, arena, _: Opened(bundle, arena),
    )


def frames(world: PlaneWorld) -> Iterator[tuple[Frame, np.ndarray]]:
    for index, (name, truth) in enumerate(world.cam_from_world.items()):
        image = cv2.imread(str(world.frames / name), cv2.IMREAD_GRAYSCALE)
        frame = Frame(image=image, t_ns=(index + 1) * FRAME_NS, camera=CAMERA, index=index)
        yield frame, truth


@pytest.mark.parametrize("registration", ["one_pass", "landmark_wise", "published"])
def test_landmarks_lead_to_the_pose(world: PlaneWorld, registration: str) -> None:
    localizer = opened(world, registration=registration)
    for frame, truth in frames(world):
        estimate = localizer.localize(frame).estimate
        assert estimate.status is Status.OK
        translation, rotation = pose_error(estimate.cam_from_world, truth)
        assert translation < TRANSLATION_TOLERANCE_M
        assert rotation < ROTATION_TOLERANCE_DEG
    localizer.close()


@pytest.mark.parametrize("registration", ["one_pass", "landmark_wise", "published"])
def test_unknown_place_gives_no_pose(world: PlaneWorld, registration: str) -> None:
    localizer = opened(world, registration=registration)
    Opened.recogniser.blind = True
    estimate = localizer.localize(next(frames(world))[0]).estimate
    assert (estimate.status, estimate.candidates) == (Status.NO_MATCHES, 0)
    assert estimate.cam_from_world is None
    localizer.close()


def test_one_landmark_is_enough(world: PlaneWorld) -> None:
    """Refinement brings the rest of the view in."""
    localizer = opened(world, registration="landmark_wise", landmarks=1)
    frame, truth = list(frames(world))[5]
    result = localizer.localize(frame)
    estimate = result.estimate
    assert estimate.status is Status.OK
    own = np.diff(open_bundle(world.bundle).array(layout.LANDMARK_START)).max()
    assert estimate.candidates <= own
    assert len(np.unique(result.matches.point_id[estimate.inlier_index])) > own / 4
    assert pose_error(estimate.cam_from_world, truth)[0] < TRANSLATION_TOLERANCE_M
    localizer.close()


def test_tracking_skips_recognition_and_falls_back(world: PlaneWorld) -> None:
    localizer = opened(world, tracking=True)
    recogniser = Opened.recogniser
    shown = list(frames(world))
    for frame, truth in shown[:6]:
        estimate = localizer.localize(frame).estimate
        assert estimate.status is Status.OK
        assert pose_error(estimate.cam_from_world, truth)[0] < TRANSLATION_TOLERANCE_M
    assert recogniser.runs == 1
    assert set(estimate.stages_ms) == {"extract", "track", "calibration"}
    # Looking elsewhere at once, farther than is searched: recognised again.
    turn = compose(so3_exp([0.0, np.radians(15.0), 0.0]), np.zeros(3))
    homography = CAMERA.matrix @ turn[:3, :3] @ np.linalg.inv(CAMERA.matrix)
    image = cv2.warpPerspective(shown[6][0].image, homography, (CAMERA.width, CAMERA.height))
    estimate = localizer.localize(replace(shown[6][0], image=image)).estimate
    assert recogniser.runs == 2
    assert estimate.status is Status.OK
    assert pose_error(estimate.cam_from_world, turn @ shown[6][1])[0] < TRANSLATION_TOLERANCE_M
    # Nothing to see: no pose, and nothing to begin with afterwards.
    grey = np.full_like(image, 128)
    assert localizer.localize(replace(shown[7][0], image=grey)).estimate.cam_from_world is None
    assert localizer.localize(shown[8][0]).estimate.status is Status.OK
    assert recogniser.runs == 3
    localizer.close()


def test_every_method_tracks(world: PlaneWorld) -> None:
    localizer = Localizer.open(
        open_bundle(world.bundle), CAMERA, Settings(method="exhaustive", tracking=True, threads=1)
    )
    laps = [set(localizer.localize(frame).estimate.stages_ms) for frame, _ in frames(world)]
    assert "match" in laps[0]
    assert all(lap == {"extract", "track", "calibration"} for lap in laps[1:])
    localizer.close()


def test_predictions_from_outside_are_tested_like_any_other(world: PlaneWorld) -> None:
    localizer = Localizer.open(
        open_bundle(world.bundle),
        CAMERA,
        Settings(method="exhaustive", tracking=True, threads=1, search_every=3),
    )
    shown, covariance = list(frames(world)), np.eye(6) * 1e-5
    turn = compose(so3_exp([0.0, np.radians(15.0), 0.0]), np.zeros(3))
    for (frame, truth), error, tracked in zip(
        shown,
        [np.eye(4), turn, None, None, None, None],
        # Never seen before, and tracked at once; a wrong prediction costs a search; then
        # constant motion, whether or not a pose is then to be verified.
        [True, False, True, True, True, True],
        strict=False,
    ):
        if error is not None:
            localizer.predict(frame.t_ns, error @ truth, covariance)
        estimate = localizer.localize(frame).estimate
        assert estimate.status is Status.OK and estimate.tracked is tracked
        assert pose_error(estimate.cam_from_world, truth)[0] < TRANSLATION_TOLERANCE_M
    localizer.search_next()
    assert not localizer.localize(shown[6][0]).estimate.tracked
    localizer.close()


def test_a_tracked_pose_that_a_search_contradicts_is_followed_by_a_search(
    world: PlaneWorld,
) -> None:
    with Localizer.open(
        open_bundle(world.bundle),
        CAMERA,
        Settings(method="exhaustive", tracking=True, threads=1, search_every=2),
    ) as localizer:
        tracked, shown = list[bool](), list(frames(world))

        def localize() -> Localization:
            frame, truth = shown[len(tracked)]
            result = localizer.localize(frame)
            assert pose_error(result.cam_from_world, truth)[0] < TRANSLATION_TOLERANCE_M
            tracked.append(result.estimate.tracked)
            return result

        for _ in range(4):
            result = localize()
            assert result.matches.n > 0
        localizer.verify()
        with pytest.raises(StaleViewError):
            _ = result.matches
        for _ in range(3):
            localize()
        line = localizer._line
        localizer._line = replace(line, registration=Elsewhere(line.registration))
        localizer.verify()
        localizer._line = line
        # What others predict does not count before that is settled.
        frame, truth = shown[len(tracked)]
        localizer.predict(frame.t_ns, truth, np.eye(6) * 1e-5)
        localize()
        localize()
        assert tracked == [False, *[True] * 6, False, True]


def test_where_nobody_verifies_the_frame_after_a_pose_that_was_due_is_searched_for(
    world: PlaneWorld,
) -> None:
    with Localizer.open(
        open_bundle(world.bundle),
        CAMERA,
        Settings(method="exhaustive", tracking=True, threads=1, search_every=2),
    ) as localizer:
        found = [
            localizer.locate(localizer.extract(frame)).estimate
            for frame, _ in itertools.islice(frames(world), 6)
        ]
    assert all(estimate.status is Status.OK for estimate in found)
    assert [estimate.tracked for estimate in found] == [False, True, True, True, False, True]


class Elsewhere:
    """A search that finds another place."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        found = self._registration.register(camera, work)
        moved = compose(np.eye(3), [0.5, 0.0, 0.0])
        return replace(found, cam_from_world=moved @ found.cam_from_world)


def test_a_pose_is_verified_when_it_is_due_and_doubted_by_another_place_or_none() -> None:
    here = PoseEstimate(
        t_ns=0, status=Status.OK, cam_from_world=np.eye(4), covariance=np.eye(6) * 1e-4
    )
    beside = replace(here, cam_from_world=compose(np.eye(3), [0.05, 0.0, 0.0]))
    away = replace(here, cam_from_world=compose(np.eye(3), [0.0, 0.2, 0.0]))
    nowhere = PoseEstimate(t_ns=0, status=Status.NO_POSE)
    tracker, t_ns = Tracker(search_every=2), 0
    for searched, doubted in ((beside, False), (away, True), (nowhere, True)):
        for due in (False, False, True):
            assert tracker.verification_due is due
            t_ns += FRAME_NS
            tracker.remember(t_ns, np.eye(4), tracked=True)
        tracker.verify(here, searched)
        assert not tracker.verification_due
        tracker.expect(t_ns + FRAME_NS, np.eye(4), np.eye(6) * 1e-4)
        again = Tracker(search_every=2)
        again.resume(tracker.recall())
        assert (again.predict(t_ns + FRAME_NS) is None) is doubted
        assert (tracker.predict(t_ns + FRAME_NS) is None) is doubted
        tracker.remember(t_ns := t_ns + FRAME_NS, np.eye(4))
        assert tracker.predict(t_ns + FRAME_NS) is not None


def test_prediction_repeats_the_motion() -> None:
    tracker = Tracker()
    motion = compose(so3_exp([0.01, -0.02, 0.03]), [0.1, 0.0, -0.05])
    first = compose(so3_exp([0.3, 0.1, -0.2]), [1.0, 2.0, 3.0])
    assert tracker.predict(FRAME_NS) is None
    tracker.remember(FRAME_NS, first)
    np.testing.assert_array_equal(tracker.predict(2 * FRAME_NS).cam_from_world, first)
    tracker.remember(2 * FRAME_NS, motion @ first)
    np.testing.assert_allclose(
        tracker.predict(3 * FRAME_NS).cam_from_world, motion @ motion @ first
    )
    # Another pace: the motion says nothing; too late: neither does the pose.
    late = 2 * FRAME_NS + 4 * FRAME_NS
    np.testing.assert_array_equal(tracker.predict(late).cam_from_world, motion @ first)
    assert tracker.predict(2 * FRAME_NS + OLDEST_NS + 1) is None
    assert tracker.predict(2 * FRAME_NS) is None
    tracker.remember(3 * FRAME_NS, None)
    assert tracker.predict(4 * FRAME_NS) is None


def test_map_without_landmarks_names_the_cure(tmp_path: Path) -> None:
    world = make_plane_world(tmp_path, frames=1)
    with pytest.raises(BundleError, match="edge-reloc train --method landmarks"):
        Localizer.open(open_bundle(world.bundle), CAMERA, Settings(method="landmarks"))


def test_method_without_its_settings_is_refused(world: PlaneWorld, tmp_path: Path) -> None:
    with extend_bundle(world.bundle, tmp_path / "map") as bundle:
        del bundle.manifest.methods["landmarks"]["most"]
    with pytest.raises(BundleError, match="'most' is missing"):
        Localizer.open(open_bundle(tmp_path / "map"), CAMERA, Settings(method="landmarks"))


@pytest.mark.parametrize("values", [{"registration": "both"}, {"landmarks": 0}])
def test_senseless_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Settings(**values)
