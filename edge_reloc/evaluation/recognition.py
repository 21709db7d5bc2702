"""How often the recogniser names the landmark that a keypoint shows."""

from __future__ import annotations

import numpy as np

from ..geometry.camera import Camera
from ..geometry.rigid import Array
from ..localizer import Localizer
from ..memory.arena import Arena
from ..pose.guided import GuidedMatcher
from ..pose.second_pass import SLACK
from ..retrieval.landmarks import LandmarkRetriever
from ..structs import Correspondences

SHOWN_PX = 4.0  # at 640 pixels: a similar point projects this near, so the keypoint shows it


class RecognitionJudge:
    """Compares recognised landmarks with those that the reference pose projects.

    A keypoint shows a map point when a similar one projects onto it.
    """

    def __init__(self, localizer: Localizer, retriever: LandmarkRetriever) -> None:
        self._localizer, self._retriever = localizer, retriever
        spec, settings = localizer.spec, localizer.settings
        similarity = settings.min_similarity
        similarity = spec.min_similarity if similarity is None else similarity
        points = localizer.points
        assert points is not None  # landmarks are made of them
        self._matcher = GuidedMatcher(points, min_similarity=similarity - SLACK)
        self._shown = Correspondences(Arena(), spec.keypoints)
        self._label = retriever.landmarks.labels(points.n)

    def judge(self, camera: Camera, cam_from_world: Array) -> float | None:
        """Top-1 over the keypoints of the frame just localised that show a landmark.

        None when none does.
        """
        features, shown = self._localizer.features, self._shown
        if features.n == 0 or features.camera is None:
            return None
        found, _ = self._retriever.recognise(features, outlier=1.0)
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
    retriever = localizer.method.retriever
    return (
        RecognitionJudge(localizer, retriever) if isinstance(retriever, LandmarkRetriever) else None
    )
