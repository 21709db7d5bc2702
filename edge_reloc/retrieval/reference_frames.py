"""Points of a landmark that its virtual reference frame sees: PRAM, algorithm 1, line 4.

V_l is the mapping photo that observed most of landmark l (eq. 4). The paper projects the
landmark's points into it and matches there; what does not fall into it cannot match.
"""

from __future__ import annotations

import numpy as np

from ..bundle.layout import LANDMARK_CAM_FROM_WORLD, LANDMARK_CAMERA
from ..bundle.points import PointMap
from ..bundle.reader import MapBundle
from ..geometry.camera import Camera
from ..geometry.rigid import transform
from .landmarks import LandmarkPoints


def seen_by_reference_frames(
    bundle: MapBundle, points: PointMap, landmarks: LandmarkPoints
) -> LandmarkPoints:
    """The landmarks with those points alone that project into their frame; done once."""
    cameras = [Camera.from_dict(values, "") for values in bundle.manifest.cameras.values()]
    frames = bundle.array(LANDMARK_CAM_FROM_WORLD)
    kept = []
    for landmark, (pose, camera) in enumerate(
        zip(frames, bundle.array(LANDMARK_CAMERA), strict=True), start=1
    ):
        ids = landmarks.of(landmark)
        seen = cameras[camera]
        xyz = transform(pose, np.asarray(points.xyz[ids], np.float64))
        xy = seen.project(xyz)
        inside = ((xy >= 0) & (xy < [seen.width, seen.height])).all(axis=1)
        # Beyond its field of view a lens model may fold back into the image.
        inside &= np.hypot(xyz[:, 0], xyz[:, 1]) <= seen.reach * np.abs(xyz[:, 2])
        kept.append(ids[inside])
    start = np.cumsum([0] + [len(ids) for ids in kept]).astype(np.int32)
    return LandmarkPoints(start=start, point_id=np.concatenate(kept).astype(np.int32))
