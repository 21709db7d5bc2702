"""Boards found in photos: which of a board's points are seen, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .boards import APRILGRID_BORDER, CHARUCO, CIRCLES, Board
from .corners import refine_circles, refine_corners, within

SEARCH_SIDE_PX = 1280  # longer side of the image in which chessboards and circles are searched
CHESSBOARD_FLAGS = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
TAG_AGREES_PX = 1.0  # a corner further from where its neighbours have it is another one
TAG_MISPLACED, TAGS_IN_PLACE = 0.35, 0.8  # of a tag's side, by distortion; of the corners
# OpenCV names a tag's corners clockwise from the top left, and has AprilTags upside down.
TAG_CORNERS = np.array([(1, 1), (0, 1), (0, 0), (1, 0)])  # column and row in the tag


@dataclass(frozen=True)
class Detection:
    """Inner corners of a board, or centres of its circles, in one image, N of them."""

    #: (N,) their numbers, row by row from the board's top left
    corner: NDArray[np.int64]
    #: (N,2) pixels, centre of the top-left pixel at (0, 0)
    xy_px: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.corner)


class BoardDetector:
    """Finds one board in grey images."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._find: Callable[[NDArray[np.uint8]], Detection | None]
        if board.kind in CHARUCO:
            self._charuco = cv2.aruco.CharucoDetector(board.charuco())
            self._find = self._find_charuco
        elif board.kind == "aprilgrid":
            self._tags = tag_detector(board)
            self._find = self._find_tags
        elif board.kind in CIRCLES:
            self._find = self._find_circles
        else:
            self._find = self._find_chessboard

    def detect(self, grey: NDArray[np.uint8]) -> Detection | None:
        """Corners in an image (H,W) uint8, or None when the board is not there."""
        found = self._find(grey)
        if found is None or len(found) < 2 or not np.all(np.isfinite(found.xy_px)):
            return None
        if self.board.kind in CIRCLES:
            return Detection(found.corner, refine_circles(grey, found.xy_px))
        return Detection(found.corner, refine_corners(grey, found.xy_px, self.board.clear))

    def _find_charuco(self, grey: NDArray[np.uint8]) -> Detection | None:
        xy, ids, _, _ = self._charuco.detectBoard(grey)
        if ids is None or len(ids) == 0:
            return None
        corner = np.asarray(ids, dtype=np.int64).ravel()
        order = np.argsort(corner)
        return Detection(corner[order], np.asarray(xy, np.float64).reshape(-1, 2)[order])

    def _find_chessboard(self, grey: NDArray[np.uint8]) -> Detection | None:
        pattern = (self.board.cols - 1, self.board.rows - 1)
        small = shrunk(grey)
        found, xy = cv2.findChessboardCornersSB(small, pattern, flags=CHESSBOARD_FLAGS)
        return _whole(xy, small, grey) if found else None

    def _find_circles(self, grey: NDArray[np.uint8]) -> Detection | None:
        small = shrunk(grey)
        flag = (
            cv2.CALIB_CB_SYMMETRIC_GRID
            if self.board.kind == "circles"
            else cv2.CALIB_CB_ASYMMETRIC_GRID
        )
        size = (self.board.cols, self.board.rows)
        blobs = _blob_detector(small)
        found, xy = cv2.findCirclesGrid(
            small, size, flags=flag | cv2.CALIB_CB_CLUSTERING, blobDetector=blobs
        )
        if not found:
            found, xy = cv2.findCirclesGrid(small, size, flags=flag, blobDetector=blobs)
        return _whole(xy, small, grey) if found else None

    def _find_tags(self, grey: NDArray[np.uint8]) -> Detection | None:
        corners, ids, _ = self._tags.detectMarkers(grey)
        if ids is None:
            return None
        tags = np.asarray(ids, np.int64).ravel()
        there = tags < self.board.markers
        if not there.any() or len(np.unique(tags[there])) < there.sum():
            return None
        tags = tags[there]
        xy_px = np.asarray(corners, np.float64).reshape(-1, 4, 2)[there]
        cols, rows = self.board.cols, self.board.rows
        col = 2 * (tags % cols)[:, None] + TAG_CORNERS[:, 0]
        row = 2 * (rows - 1 - tags // cols)[:, None] + TAG_CORNERS[:, 1]
        corner = row * 2 * cols + col
        if not _is_layout(self.board.corners_m[corner, :2], xy_px):
            return None
        xy_px, good = self._refined_tags(grey, tags, self.board.corners_m[corner, :2], xy_px)
        order = np.argsort(corner[good])
        return Detection(corner[good][order], xy_px[good][order])

    def _refined_tags(
        self,
        grey: NDArray[np.uint8],
        tags: NDArray[np.int64],
        xy_board: NDArray[np.float64],
        xy_px: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Corners (T,4,2) refined, and (T,4) whether their neighbours agree.

        The outlines that tags are found by lie pixels outside, and are pulled by the squares
        at their corners: refined corners tell where the next refinement has to begin.
        """
        for _ in range(2):
            start = _agreed(tags % self.board.cols, tags // self.board.cols, xy_board, xy_px)
            flat = refine_corners(grey, start.reshape(-1, 2), self.board.clear)
            xy_px = flat.reshape(start.shape)
        near = np.linalg.norm(xy_px - start, axis=2) < TAG_AGREES_PX
        return xy_px, near & within(grey, start)


def _is_layout(xy_board: NDArray[np.float64], xy_px: NDArray[np.float64]) -> bool:
    """Whether most corners (T,4,2) lie where one plane, seen by a lens, may have them."""
    side_px = float(np.median(np.linalg.norm(xy_px[:, 0] - xy_px[:, 1], axis=1)))
    matrix, inliers = cv2.findHomography(
        xy_board.reshape(-1, 2), xy_px.reshape(-1, 2), cv2.RANSAC, TAG_MISPLACED * side_px
    )
    return matrix is not None and float(inliers.mean()) > TAGS_IN_PLACE


def _agreed(
    col: NDArray[np.int64],
    row: NDArray[np.int64],
    xy_board: NDArray[np.float64],
    xy_px: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Corners (T,4,2) of T tags where the homography of each tag and its neighbours has them."""
    agreed = xy_px.copy()
    for i in range(len(col)):
        near = (np.abs(col - col[i]) <= 1) & (np.abs(row - row[i]) <= 1)
        matrix, _ = cv2.findHomography(
            xy_board[near].reshape(-1, 2), xy_px[near].reshape(-1, 2), cv2.LMEDS
        )
        if matrix is not None:
            agreed[i] = cv2.perspectiveTransform(xy_board[i][None], matrix)[0]
    return agreed


def shrunk(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A large photo, in which a search takes seconds, at SEARCH_SIDE_PX."""
    shrink = SEARCH_SIDE_PX / max(grey.shape)
    if shrink >= 1:
        return grey
    return np.asarray(
        cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8
    )


def _whole(xy: Any, small: NDArray[np.uint8], grey: NDArray[np.uint8]) -> Detection:
    """All points of a board, in pixels of the photo instead of the shrunk one."""
    scale = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]])
    xy_px = (np.asarray(xy, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5
    return Detection(np.arange(len(xy_px)), xy_px)


def tag_detector(board: Board) -> Any:
    """OpenCV's detector of the tags of an AprilGrid."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.markerBorderBits = APRILGRID_BORDER
    parameters.minMarkerPerimeterRate = 0.01
    return cv2.aruco.ArucoDetector(board.markers_of(), parameters)


def _blob_detector(grey: NDArray[np.uint8]) -> Any:
    parameters = cv2.SimpleBlobDetector_Params()
    parameters.minArea, parameters.maxArea = 12.0, grey.size / 25
    parameters.minDistBetweenBlobs = 4.0
    return cv2.SimpleBlobDetector_create(parameters)
