"""Pictures of circles' centres from the centroids of circles' pictures, which are not the same.

Under perspective and distortion the two lie up to half a pixel apart (Heikkilä, Geometric camera
calibration using circular control points, 2000). With a camera and the board's pose known nearly,
the difference is known well: it is taken off what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import transform

from .fit import Fit
from .residuals import View

Array = NDArray[np.float64]

SIDES = 32  # of the polygon that stands for a circle


def as_centres(views: Sequence[View], fit: Fit) -> list[View]:
    """Views of circles with the pixels of their centres; those of corners as they are."""
    return [
        replace(view, xy_px=view.xy_px - centroid_shift_px(fit.camera, pose, view))
        if view.radius_m
        else view
        for view, pose in zip(views, fit.cam_from_board, strict=True)
    ]


def centroid_shift_px(camera: Camera, cam_from_board: Array, view: View) -> Array:
    """(N,2) centroid of each circle's picture minus the picture of its centre."""
    angle = np.arange(SIDES) * 2 * np.pi / SIDES
    rim = np.stack([np.cos(angle), np.sin(angle), np.zeros(SIDES)], axis=1) * view.radius_m
    points = (view.xyz_board[:, None] + rim).reshape(-1, 3)
    outline = camera.project(transform(cam_from_board, points)).reshape(-1, SIDES, 2)
    centre = camera.project(transform(cam_from_board, view.xyz_board))
    outline = outline - centre[:, None]
    x, y = outline[..., 0], outline[..., 1]
    following = np.roll(outline, -1, axis=1)
    area = x * following[..., 1] - following[..., 0] * y
    moment = ((outline + following) * area[..., None]).sum(axis=1)
    return np.asarray(moment / (3 * area.sum(axis=1))[:, None])
