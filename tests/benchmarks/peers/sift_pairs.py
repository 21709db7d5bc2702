"""COLMAP's SIFT, matched by COLMAP's criteria and verified by pycolmap.

The matching is pycolmap's to the match (a test compares them), in a third of its time on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from edge_reloc.reference.colmap import colmap_pixels

from .pair_matchers import LocalFeatures

LARGEST_ANGLE_RAD = 0.7  # between descriptors: COLMAP's max_distance
LARGEST_RATIO = 0.8  # of the nearest and the second angle: COLMAP's max_ratio
HALF_PIXEL = 0.5  # COLMAP counts from the pixel's corner
LENGTH = 512  # of a descriptor, as COLMAP rounds it to bytes
FEWEST = 8  # matches of a pair that are worth verifying


class SiftPairs:
    """COLMAP's defaults: at most 8192 features, ratio, distance and cross check."""

    networks: tuple[Path, ...] = ()

    def __init__(self, threads: int) -> None:
        pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value
        options = pycolmap.FeatureExtractionOptions()
        options.num_threads = threads
        self._extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        self._geometry = pycolmap.TwoViewGeometryOptions()
        self._geometry.ransac.random_seed = 0

    def extract(self, image_bgr: NDArray[np.uint8], camera: Any) -> LocalFeatures:
        """Of the grey photo."""
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        keypoints, descriptors = self._extractor.extract(pycolmap.Bitmap.from_array(grey))
        xy = pycolmap.keypoints_to_matrix(keypoints)[:, :2] - HALF_PIXEL
        return LocalFeatures(
            xy_px=xy.astype(np.float32), descriptor=descriptors.data, camera=camera
        )

    def match(self, one: LocalFeatures, other: LocalFeatures) -> NDArray[np.int64]:
        """Mutual matches that fit one motion of the camera, as COLMAP verifies pairs."""
        found = mutual_matches(one.descriptor, other.descriptor)
        if len(found) < FEWEST:
            return found[:0]
        geometry = pycolmap.estimate_calibrated_two_view_geometry(
            one.camera,
            colmap_pixels(one.xy_px).astype(np.float64),
            other.camera,
            colmap_pixels(other.xy_px).astype(np.float64),
            found.astype(np.uint32),
            self._geometry,
        )
        return np.asarray(geometry.inlier_matches, np.int64).reshape(-1, 2)


def mutual_matches(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows (M,2) of descriptors (N,128) and (K,128) that choose each other, and clearly so."""
    if min(len(one), len(other)) < 2:
        return np.zeros((0, 2), np.int64)
    similarity = _unit(one) @ _unit(other).T
    there, is_clear = _nearest(similarity)
    back, is_clear_back = _nearest(np.ascontiguousarray(similarity.T))
    rows = np.flatnonzero(is_clear & (back[there] == np.arange(len(one))) & is_clear_back[there])
    return np.stack([rows, there[rows]], axis=1)


def _unit(descriptor: NDArray[np.uint8]) -> NDArray[np.float32]:
    return descriptor.astype(np.float32) / LENGTH


def _nearest(similarity: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    rows = np.arange(len(similarity))
    best = similarity.argmax(axis=1)
    first = similarity[rows, best]
    similarity[rows, best] = -1.0
    second = similarity.max(axis=1)
    similarity[rows, best] = first
    angle, next_angle = (np.arccos(np.minimum(value, 1.0)) for value in (first, second))
    return best, (angle <= LARGEST_ANGLE_RAD) & (angle < LARGEST_RATIO * next_angle)


def open_sift(threads: int) -> SiftPairs:
    """No networks."""
    return SiftPairs(threads)
