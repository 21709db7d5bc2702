"""Landmark recognition: what each keypoint shows, and the points to match it with.

PRAM (Xue, Budvytis, Cipolla), section 3.4: a transformer labels every keypoint with a
landmark, 0 for "not in the map". No photo is searched and no global descriptor needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ..bundle.layout import LANDMARK_POINT_ID, LANDMARK_START
from ..bundle.reader import MapBundle
from ..errors import BundleError
from ..inference.engine import Engine
from ..inference.signature import check_signature
from ..structs import Candidates, Features

OUTLIER = 0.9  # P(not in the map) over which a keypoint is dropped; the paper's value
FEWEST_KEYPOINTS = 4  # of a landmark: fewer cannot support a pose together
NOWHERE = -1  # group of keypoints that match nothing


class Order(Enum):
    """By what of its keypoints' confidence a landmark comes first."""

    #: summed: landmarks of which much is seen; finds more poses
    SUM = "sum"
    #: the mean, as published (section 3.4)
    MEAN = "mean"


@dataclass(frozen=True, kw_only=True)
class LandmarkPoints:
    """Landmark l (1 to L) holds point_id[start[l - 1]:start[l]], ascending."""

    start: NDArray[np.int32]
    point_id: NDArray[np.int32]

    @property
    def count(self) -> int:
        """L."""
        return len(self.start) - 1

    def largest(self, most: int) -> int:
        """Points of the largest landmarks together."""
        return int(np.sort(np.diff(self.start))[-most:].sum())

    def of(self, landmark: int) -> NDArray[np.int32]:
        """Points of one landmark."""
        return self.point_id[self.start[landmark - 1] : self.start[landmark]]

    def labels(self, points: int) -> NDArray[np.int32]:
        """(P,): landmark of each point, 0 for none."""
        label = np.zeros(points, np.int32)
        numbers = np.arange(1, self.count + 1, dtype=np.int32)
        label[self.point_id] = np.repeat(numbers, np.diff(self.start))
        return label


def open_landmarks(bundle: MapBundle) -> LandmarkPoints:
    """Landmarks of a map; BundleError when they do not fit it."""
    return LandmarkPoints(
        start=np.asarray(bundle.array(LANDMARK_START)),
        point_id=np.asarray(bundle.array(LANDMARK_POINT_ID)),
    )


class LandmarkRetriever:
    """Recognises landmarks; each is a group that matches within itself.

    The network takes `descriptor` (1,K,D), `ray` (1,K,2) and `mask` (1,K) of the best K
    keypoints, and returns `probability` (1,K,L+1). dim: D, None: the network's. most:
    landmarks taken at most, those with most confidence, which is the candidates' score.
    """

    def __init__(
        self,
        landmarks: LandmarkPoints,
        engine: Engine,
        *,
        most: int,
        dim: int | None = None,
        order: Order = Order.SUM,
    ) -> None:
        self.landmarks, self._engine, self._most, self._order = landmarks, engine, most, order
        mask = engine.inputs.get("mask")
        keypoints = None if mask is None else mask.shape[-1]
        check_signature(
            engine,
            "the landmark network",
            inputs={
                "descriptor": (1, keypoints, dim),
                "ray": (1, keypoints, 2),
                "mask": (1, keypoints),
            },
            outputs={"probability": (1, keypoints, None)},
        )
        self.keypoints = engine.inputs["mask"].shape[1]
        found = engine.outputs["probability"].shape[2]
        if found != landmarks.count + 1:
            raise BundleError(
                f"the landmark network knows {found - 1} landmarks, the map has "
                f"{landmarks.count}; train it again with 'edge-reloc train --method landmarks'"
            )

    def retrieve(self, features: Features, out: Candidates) -> None:
        """Points of the recognised landmarks; over capacity the least sure are left out."""
        out.clear()
        out.query_group[:] = NOWHERE
        n = min(features.n, self.keypoints)
        label, confidence = self.recognise(features)
        count = np.bincount(label, minlength=self.landmarks.count + 1)
        total = np.asarray(np.bincount(label, confidence, minlength=len(count)), np.float64)
        if self._order is Order.MEAN:
            total /= np.maximum(count, 1)
        else:
            total[count < FEWEST_KEYPOINTS] = 0.0
        total[0] = 0.0
        order = np.argsort(-total, kind="stable")[: self._most]
        used = 0
        for landmark in order[total[order] > 0]:
            ids = self.landmarks.of(int(landmark))
            if used + len(ids) > out.capacity:
                out.truncated += len(ids)
                continue
            rows = slice(used, used + len(ids))
            out.point_id[rows], out.group[rows], out.score[rows] = ids, landmark, total[landmark]
            out.query_group[:n][label == landmark] = landmark
            used += len(ids)
        out.n = used
        ascending = np.argsort(out.point_id[:used], kind="stable")
        for array in (out.point_id, out.group, out.score):
            array[:used] = array[:used][ascending]

    def labels(self, points: int) -> NDArray[np.int32]:
        """(P,): landmark of each map point, 0 for none."""
        return self.landmarks.labels(points)

    def recognise(
        self, features: Features, outlier: float = OUTLIER
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Landmark (n,) of the best keypoints, 0 for dropped ones, and its probability."""
        n = min(features.n, self.keypoints)
        assert features.camera is not None
        inputs = self._engine.inputs
        inputs["descriptor"][0, :n] = features.descriptor[:n]
        inputs["ray"][0, :n] = features.camera.rays_from_pixels(features.xy_px[:n])
        for array in inputs.values():
            array[0, n:] = 0.0
        inputs["mask"][0, :n] = 1.0
        self._engine.run()
        probability = self._engine.outputs["probability"][0, :n]
        label = probability[:, 1:].argmax(axis=1) + 1
        confidence = probability[np.arange(n), label]
        label[probability[:, 0] > outlier] = 0
        return label, confidence
