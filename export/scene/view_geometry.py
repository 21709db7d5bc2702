"""Poses and cameras of all photos as arrays, for work on many points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64, I32, I64
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import camera_centre

from .model import View

NATIVE_SIDE_PX = 1024  # tolerances are meant at this size and grow with larger photos
WORST_PX = 1e4  # what a point behind the camera counts as


class ViewGeometry:
    """V photos: rotation (V,3,3), translation (V,3), centre (V,3), world units.

    tolerance (V,): 1 for photos up to 1024 px, larger in proportion above,
    because keypoints are found in an image of about that size.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self.views = list(views)
        poses = np.array([v.cam_from_world for v in views]).reshape(-1, 4, 4)
        self.rotation, self.translation = poses[:, :3, :3], poses[:, :3, 3]
        self.centre = np.array([camera_centre(p) for p in poses]).reshape(-1, 3)
        self.cameras: list[Camera] = list(dict.fromkeys(v.camera for v in views))
        place = {camera: i for i, camera in enumerate(self.cameras)}
        self.camera_of = np.array([place[v.camera] for v in views], np.int32)
        side = np.array([max(c.width, c.height) for c in self.cameras])
        self.tolerance = np.maximum(1.0, side / NATIVE_SIDE_PX)[self.camera_of]
        self._reach = np.array([_largest_ray(c) for c in self.cameras])

    def rays(self, view: I32, xy_px: NDArray[np.floating]) -> F64:
        """Undistorted image-plane points (O,2), z = 1."""
        out = np.empty((len(view), 2))
        for k, rows in self._by_camera(view):
            out[rows] = self.cameras[k].rays_from_pixels(np.asarray(xy_px[rows], np.float64))
        return out

    def directions(self, view: I32, rays: F64) -> F64:
        """Unit directions (O,3) in the world of image-plane points (O,2)."""
        homogeneous = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
        world = np.einsum("oji,oj->oi", self.rotation[view], homogeneous)
        return np.asarray(world / np.linalg.norm(world, axis=1, keepdims=True))

    def camera_points(self, view: I32, xyz: F64) -> F64:
        """World points (O,3) in the camera of each row's view."""
        return np.asarray(
            np.einsum("oij,oj->oi", self.rotation[view], xyz) + self.translation[view]
        )

    def residual(self, view: I32, xyz: F64, xy_px: NDArray[np.floating]) -> F64:
        """Reprojection minus observation (O,2) px; WORST_PX behind a camera."""
        cam = self.camera_points(view, xyz)
        out = np.full((len(view), 2), WORST_PX)
        for k, rows in self._by_camera(view):
            front = rows[cam[rows, 2] > 1e-9]
            plane = cam[front, :2] / cam[front, 2:]
            # Beyond the image a distortion polynomial folds back: not a projection.
            plane_ok = (plane * plane).sum(axis=1) < self._reach[k] ** 2
            front, plane = front[plane_ok], plane[plane_ok]
            out[front] = self.cameras[k].pixels_from_rays(plane) - xy_px[front]
        return out

    def jacobian(self, view: I32, xyz: F64) -> F64:
        """d pixel / d world point (O,2,3)."""
        cam = self.camera_points(view, xyz)
        z = np.where(np.abs(cam[:, 2]) < 1e-9, 1e-9, cam[:, 2])
        plane = cam[:, :2] / z[:, None]
        by_plane = np.empty((len(view), 2, 2))
        for k, rows in self._by_camera(view):
            _, by_plane[rows] = self.cameras[k].pixels_and_jacobian(plane[rows])
        by_cam = np.zeros((len(view), 2, 3))
        by_cam[:, 0, 0] = by_cam[:, 1, 1] = 1.0 / z
        by_cam[:, :, 2] = -plane / z[:, None]
        return np.asarray(by_plane @ by_cam @ self.rotation[view])

    def visible(self, view: int, xyz: F64) -> tuple[I64, F64]:
        """Rows of the points (P,3) inside a photo, and their pixels (·,2)."""
        camera = self.cameras[self.camera_of[view]]
        cam = xyz @ self.rotation[view].T + self.translation[view]
        rows = np.flatnonzero(cam[:, 2] > 1e-9)
        plane = cam[rows, :2] / cam[rows, 2:]
        inside = (plane * plane).sum(axis=1) < self._reach[self.camera_of[view]] ** 2
        rows, plane = rows[inside], plane[inside]
        xy = camera.pixels_from_rays(plane)
        inside = (xy >= 0).all(axis=1) & (xy <= [camera.width - 1, camera.height - 1]).all(axis=1)
        return rows[inside], xy[inside]

    def _by_camera(self, view: I32) -> list[tuple[int, I64]]:
        if len(self.cameras) == 1:
            return [(0, np.arange(len(view)))]
        owner = self.camera_of[view]
        return [(k, np.flatnonzero(owner == k)) for k in np.unique(owner)]


def _largest_ray(camera: Camera) -> float:
    """Radius on the image plane, 10 % beyond the farthest corner."""
    w, h = camera.width - 1.0, camera.height - 1.0
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h]], np.float64)
    return 1.1 * float(np.linalg.norm(camera.rays_from_pixels(corners), axis=1).max())
