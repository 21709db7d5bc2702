"""Depth maps of mapping photos, brought into the photos' own cameras."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32, F64, Array, Bool
from edge_reloc.errors import MappingError, SourceError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import compose, rotation_angle_rad, so3_exp, transform
from edge_reloc.sources.photo import read_photo_file
from edge_reloc.sources.photo_size import PhotoSize

from ..identity import digest_of
from ..scene.model import SceneModel, View

ROUNDS = 40
LARGEST_STEP = 1e-5  # rad, or of the usual depth: below it the registration has settled
AGREEMENT = 0.01  # of the depth: what counts as agreeing in the registration
HOPELESS = 0.5  # of the depth: another surface, or another unit
EDGE = 0.05  # of the depth: neighbours that differ by more are no surface
MOST_POINTS = 40_000
FEWEST_POINTS = 500
SHRINK = 4  # photos' pixels a side that share a depth


class RegisteredDepthMaps:
    """Depth of photos from maps of another camera beside the photos' own.

    folder: PNG files named as the photos. camera: of the depth maps, None for each photo's
    own. unit: map units of depth 1. Where a camera is given, its place beside the photos'
    is estimated from the points of the map, the same for all photos.
    """

    def __init__(self, folder: Path, model: SceneModel, camera: Camera | None, unit: float) -> None:
        self._folder, self._camera, self._unit = folder, camera, unit
        self._depth_from_photo: Array = np.eye(4)
        self._now = threading.local()  # the photo that a thread asks about, and its depths
        missing = [v.name for v in model.views if not self._file(v).is_file()]
        if len(missing) == len(model.views):
            raise MappingError(
                f"{folder}: no depth map of any photo; expected 16-bit PNG files named as the "
                f"photos, such as {self._file(model.views[0]).name}"
            )
        self.registration = f"depth maps of {len(model.views) - len(missing)} photos"
        if camera is not None:
            self._register(model)

    def identity(self, view: View) -> str:
        """What the depths of a photo depend on, as a digest."""
        file = self._file(view)
        content = file if file.is_file() else None
        camera = self._camera or view.camera
        return digest_of(content, camera, self._unit, self._depth_from_photo)

    def at(self, view: View, xy_px: F64) -> F32:
        """Depth (N,) along the camera's axis at pixels (N,2) of a photo, 0 for unknown."""
        if getattr(self._now, "name", None) != view.name:
            self._now.depth, self._now.name = self._of_photo(view), view.name
        depth: F32 = self._now.depth
        column, row = np.floor((xy_px.T + 0.5) / SHRINK).astype(int)
        rows, columns = depth.shape
        return np.asarray(depth[row.clip(0, rows - 1), column.clip(0, columns - 1)])

    def _file(self, view: View) -> Path:
        return self._folder / f"{Path(view.name).stem}.png"

    def _read(self, view: View) -> F32 | None:
        path = self._file(view)
        if not path.is_file():
            return None
        camera = self._camera or view.camera

        def check(size: PhotoSize) -> None:  # before a pixel is decoded
            if size != (camera.width, camera.height):
                raise SourceError(
                    f"{path}: {size} pixels, its camera has {camera.width}x{camera.height}"
                )

        try:
            data = np.frombuffer(read_photo_file(path, check), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        except SourceError as error:
            raise MappingError(str(error)) from None
        except cv2.error:  # what its decoder does not refuse, OpenCV's own checks do
            image = None
        if image is None or image.ndim != 2:
            raise MappingError(f"{path}: not a depth map; expected a 16-bit PNG of one channel")
        return np.asarray(image, np.float32) * np.float32(self._unit)

    def _of_photo(self, view: View) -> F32:
        """The nearest depth in each SHRINK x SHRINK pixels of the photo."""
        seen = np.full((view.camera.height // SHRINK, view.camera.width // SHRINK), np.inf)
        depth = self._read(view)
        if depth is not None:
            row, column = np.nonzero(depth)
            z = depth[row, column].astype(np.float64)
            rays = (self._camera or view.camera).rays_from_pixels(np.column_stack([column, row]))
            there: Array = np.column_stack([rays, np.ones(len(z))]) * z[:, None]
            photo_from_depth = np.asarray(np.linalg.inv(self._depth_from_photo), np.float64)
            xyz = transform(photo_from_depth, there)
            xyz = xyz[xyz[:, 2] > 0]
            cell = np.floor((view.camera.project(xyz) + 0.5) / SHRINK).astype(int)
            inside = ((cell >= 0) & (cell < seen.shape[::-1])).all(axis=1)
            np.minimum.at(seen, (cell[inside, 1], cell[inside, 0]), xyz[inside, 2])
        return np.where(np.isfinite(seen), seen, 0.0).astype(np.float32)

    def _register(self, model: SceneModel) -> None:
        """Six numbers that make depth maps agree with the map's points, robustly."""
        xyz, photo, depth = self._observed(model)
        usual = float(np.median(xyz[:, 2]))
        scale = np.array([1.0, 1.0, 1.0, usual, usual, usual])
        before, agree = self._away(xyz, photo, depth, np.eye(4))
        if agree.sum() < FEWEST_POINTS:
            raise MappingError(
                f"{self._folder}: only {agree.sum()} points of the map have a depth, "
                f"{FEWEST_POINTS} are needed; are --depth-camera and --depth-unit right?"
            )
        pose = np.eye(4)
        for _ in range(ROUNDS):
            away, usable = self._away(xyz, photo, depth, pose)
            slope = np.empty((len(away), 6))
            for axis in range(6):
                step = np.zeros(6)
                step[axis] = 1e-3 * scale[axis]
                up, there = self._away(xyz, photo, depth, _motion(step) @ pose)
                down, here = self._away(xyz, photo, depth, _motion(-step) @ pose)
                slope[:, axis] = (up - down) / 2e-3
                usable = usable & there & here
            weight = usable / (1.0 + (away / AGREEMENT) ** 2)
            normal = (slope * weight[:, None]).T @ slope + 1e-9 * np.eye(6)
            change = -np.linalg.solve(normal, (slope * weight[:, None]).T @ away)
            pose = _motion(change * scale) @ pose
            if np.abs(change).max() < LARGEST_STEP:
                break
        self._depth_from_photo = pose
        after, usable = self._away(xyz, photo, depth, pose)
        self.registration += (
            f"; beside the photos' camera by {np.linalg.norm(pose[:3, 3]):.3f}, turned by "
            f"{np.degrees(rotation_angle_rad(pose[:3, :3])):.2f} deg; "
            f"they differ from the map's points by {np.median(np.abs(after[usable])):.1%} of the "
            f"depth (unregistered {np.median(np.abs(before[agree])):.1%})"
        )

    def _observed(self, model: SceneModel) -> tuple[Array, NDArray[np.intp], F32]:
        """Points (N,3) in their photos' cameras, photo (N,) of each, depth maps (V,H,W)."""
        maps: list[F32] = []
        points: list[Array] = []
        photos: list[NDArray[np.intp]] = []
        for view in model.views:
            depth = self._read(view)
            if depth is None:
                continue
            xyz = transform(view.cam_from_world, model.xyz[view.point_id])
            points.append(xyz[xyz[:, 2] > 0])
            photos.append(np.full(len(points[-1]), len(maps)))
            maps.append(depth)
        xyz, photo = np.concatenate(points), np.concatenate(photos)
        some = np.random.default_rng(0).permutation(len(xyz))[:MOST_POINTS]
        return xyz[some], photo[some], np.stack(maps)

    def _away(
        self, xyz: Array, photo: NDArray[np.intp], depth: F32, depth_from_photo: Array
    ) -> tuple[Array, Bool]:
        """Measured minus expected over expected depth (N,), and where that is known."""
        assert self._camera is not None
        there = transform(depth_from_photo, xyz)
        x, y = self._camera.project(there).T
        rows, columns = depth.shape[1:]
        left, top = np.floor(x), np.floor(y)
        known = (left >= 0) & (left < columns - 1) & (top >= 0) & (top < rows - 1)
        known &= there[:, 2] > 0
        i, j = np.where(known, left, 0).astype(int), np.where(known, top, 0).astype(int)
        corners = np.stack(
            [depth[photo, j, i], depth[photo, j, i + 1], depth[photo, j + 1, i]]
            + [depth[photo, j + 1, i + 1]]
        )
        known &= (corners.min(axis=0) > 0) & (np.ptp(corners, axis=0) < EDGE * corners.max(axis=0))
        a, b = x - left, y - top
        upper = corners[0] * (1 - a) + corners[1] * a
        lower = corners[2] * (1 - a) + corners[3] * a
        measured = upper * (1 - b) + lower * b
        expected = np.where(known, there[:, 2], 1.0)
        away = np.where(known, measured / expected - 1.0, 0.0)
        return away, known & (np.abs(away) < HOPELESS)


def _motion(step: Array) -> Array:
    """(4,4) of rotation (3,) in rad and translation (3,)."""
    return compose(so3_exp(step[:3]), step[3:])


def open_depth_maps(
    folder: Path, model: SceneModel, camera_file: Path | None, unit: float
) -> RegisteredDepthMaps:
    """Depth maps of a folder. MappingError, CameraError when they cannot be used."""
    if not folder.is_dir():
        raise MappingError(f"{folder}: no such folder of depth maps")
    camera = None if camera_file is None else read_camera(camera_file)
    return RegisteredDepthMaps(folder, model, camera, unit)
