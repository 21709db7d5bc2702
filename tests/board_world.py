"""Photos of a calibration board with exact truth, through any camera model.

Every output pixel averages a grid of rays: each ray meets the board's plane
and samples its drawing, so that corners have no bias from the rendering.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc_calib.boards import Board

RAYS_PER_SIDE = 2  # of a pixel
TEXELS_PER_SQUARE = 48
MARGIN_SQUARES = 1
WALL_GREY, BLACK, WHITE = 110, 25, 225  # a real camera sees no perfect black


class BoardWorld:
    """Renders one board through one camera."""

    def __init__(self, board: Board, camera: Camera, noise_grey: float = 2.0) -> None:
        self.board, self.camera, self.noise_grey = board, camera, noise_grey
        drawing = board.draw(TEXELS_PER_SQUARE).astype(np.float32) / 255
        drawing = BLACK + (WHITE - BLACK) * drawing
        margin = MARGIN_SQUARES * TEXELS_PER_SQUARE
        self._texture = cv2.copyMakeBorder(
            drawing, *(margin,) * 4, cv2.BORDER_CONSTANT, value=WHITE
        )
        step = (np.arange(RAYS_PER_SIDE) + 0.5) / RAYS_PER_SIDE - 0.5
        v, u = np.meshgrid(
            (np.arange(camera.height)[:, None] + step).ravel(),
            (np.arange(camera.width)[:, None] + step).ravel(),
            indexing="ij",
        )
        self._shape = u.shape
        self._rays = camera.rays_from_pixels(np.stack([u.ravel(), v.ravel()], axis=1))

    def photo(self, cam_from_board: np.ndarray, seed: int = 0) -> np.ndarray:
        """(H,W) grey uint8."""
        rays = np.concatenate([self._rays, np.ones((len(self._rays), 1))], axis=1)
        # The plane z = 0 of the board seen in the camera: normal and offset.
        normal = cam_from_board[:3, 2]
        offset = normal @ cam_from_board[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = offset / (rays @ normal)
        xyz_cam = rays * depth[:, None]
        xy_board = (xyz_cam - cam_from_board[:3, 3]) @ cam_from_board[:3, :2]
        xy_board[~(depth > 0)] = -1e6
        texel = xy_board / self.board.square_m * TEXELS_PER_SQUARE
        texel = np.nan_to_num(texel + MARGIN_SQUARES * TEXELS_PER_SQUARE - 0.5, nan=-1e6)
        grid = np.clip(texel, -1e4, 3e4).astype(np.float32).reshape(*self._shape, 2)
        fine = cv2.remap(
            self._texture,
            grid,
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=WALL_GREY,
        )
        h, w = self.camera.height, self.camera.width
        image = fine.reshape(h, RAYS_PER_SIDE, w, RAYS_PER_SIDE).mean(axis=(1, 3))
        image += np.random.default_rng(seed).normal(0, self.noise_grey, image.shape)
        return np.clip(np.round(image), 0, 255).astype(np.uint8)

    def true_corners_px(self, cam_from_board: np.ndarray) -> np.ndarray:
        """(N,2) pixels of all inner corners."""
        xyz = self.board.corners_m @ cam_from_board[:3, :3].T + cam_from_board[:3, 3]
        return self.camera.project(xyz)

    def pose(
        self,
        centre_px: Sequence[float],
        distance_m: float,
        turn_deg: Sequence[float],
        facing: bool = True,
    ) -> np.ndarray:
        """cam_from_board with the board's centre on a pixel, turned about it.

        facing: turned from where it faces the camera, so that a wide lens sees
        it well; otherwise from where it is parallel to the image plane.
        """
        board = self.board
        middle = np.array([*board.size, 0]) / 2 * board.square_m
        ray = self.camera.rays_from_pixels(np.array([centre_px], dtype=float))[0]
        direction = np.array([ray[0], ray[1], 1.0])
        direction /= np.linalg.norm(direction)
        axis = np.cross([0.0, 0.0, 1.0], direction)
        sine = float(np.linalg.norm(axis))
        rotation = so3_exp(np.radians(turn_deg))
        if facing:
            rotation = so3_exp(axis / max(sine, 1e-12) * np.arctan2(sine, direction[2])) @ rotation
        return compose(rotation, direction * distance_m - rotation @ middle)

    def poses(self, count: int, distance_m: float, seed: int = 0) -> list[np.ndarray]:
        """Views spread over the image, tilted up to 35 degrees."""
        rng = np.random.default_rng(seed)
        w, h = self.camera.width, self.camera.height
        out = []
        for i in range(count):
            centre = (w * (0.22 + 0.56 * ((i * 0.618) % 1)), h * (0.25 + 0.5 * ((i * 0.414) % 1)))
            turn = [*rng.uniform(-35, 35, 2), rng.uniform(-25, 25)]
            out.append(self.pose(centre, distance_m * rng.uniform(0.8, 1.25), turn))
        return out
