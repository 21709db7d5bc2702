"""How often the recogniser names the landmark that a keypoint shows."""

from __future__ import annotations

import numpy as np

from ..arrays import Array
from ..bundle.points import PointMap
from ..geometry.camera import Camera
from ..localizer import Localizer
from ..memory.arena import Arena
from ..pose.guided import GuidedMatcher
from ..pose.second_pass import SIMILARITY_CONCEDED
from ..stages import Recogniser
from ..structs import Correspondences, Localization

SHOWN_PX = 4.0  # at 640 pixels: a similar point projects this near, so the keypoint shows it


class RecognitionJudge:
    """Compares recognised landmarks with those that the reference pose projects.

    A keypoint shows a map point when a similar one projects onto it. min_similarity: of a
    match; keypoints: of a frame.
    """

    def __init__(
        self, recogniser: Recogniser, points: PointMap, *, min_similarity: float, keypoints: int
    ) -> None:
        self._recogniser = recogniser
        similarity = min_similarity - SIMILARITY_CONCEDED
        self._matcher = GuidedMatcher(points, min_similarity=similarity)
        self._shown = Correspondences(Arena(), keypoints)
        self._label = recogniser.labels(points.n)

    def judge(self, camera: Camera, result: Localization, cam_from_world: Array) -> float | None:
        """Top-1 over the keypoints of the frame just localised that show a landmark.

        cam_from_world: the reference pose. None when no keypoint shows one.
        """
        features, shown = result.features, self._shown
        if features.n == 0 or features.camera is None:
            return None
        found, _ = self._recogniser.recognise(features, outlier=1.0)
        radius = SHOWN_PX * max(camera.width, camera.height) / 640
        self._matcher.forget()
        self._matcher.match(camera, cam_from_world, features, radius, shown)
        truth = np.zeros(features.n, np.int32)
        truth[shown.keypoint[: shown.n]] = self._label[shown.point_id[: shown.n]]
        truth = truth[: len(found)]
        known = truth > 0
        return float((found == truth)[known].mean()) if known.any() else None


def open_judge(localizer: Localizer) -> RecognitionJudge | None:
    """A judge for localisers that recognise landmarks, None for others."""
    recogniser, points = localizer.recogniser, localizer.points
    if recogniser is None or points is None:
        return None
    spec, similarity = localizer.bundle.manifest.features, localizer.settings.min_similarity
    return RecognitionJudge(
        recogniser,
        points,
        min_similarity=spec.min_similarity if similarity is None else similarity,
        keypoints=spec.keypoints,
    )
