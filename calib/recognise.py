"""Which board photos show when it is not the one that was named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .boards import CHARUCO, CIRCLES, Board
from .detectors import CHESSBOARD_FLAGS, BoardDetector, shrunk, tag_detector

Image = NDArray[np.uint8]

MOST_COLS = 24
USUAL_MARKER = 0.75  # of a square
ANY_DICTIONARY = "DICT_4X4_1000"
LEAST_MARKERS = 6  # in a photo, that a number of columns can be told from
AGREE_SHARE = 0.9  # of the markers lie where a board has them
AGREE = 0.15  # of the median distance between neighbouring markers


def board_shown(images: Sequence[Image], board: Board) -> Board | None:
    """The board, of other size or pattern, that photos show; None if unknown.

    Lengths are those of `board`: a photo does not tell them.
    """
    if board.has_markers:
        return _with_markers(images, board) or _chessboard(images, board)
    if board.kind in CIRCLES:
        other = "circles" if board.kind == "acircles" else "acircles"
        turned = replace(board, cols=board.rows, rows=board.cols)
        return _first_found(images, [turned, replace(board, kind=other)])
    marked = replace(
        board, kind="charuco", marker_m=USUAL_MARKER * board.square_m, dictionary=ANY_DICTIONARY
    )
    return _with_markers(images, marked) or _chessboard(images, board)


def _chessboard(images: Sequence[Image], board: Board) -> Board | None:
    # A search may settle for a part, or take a shadow for one more row: what most photos show.
    sizes = Counter(tuple(sorted(size)) for image in images if (size := chessboard_size(image)))
    if not sizes:
        return None
    (rows, cols), _ = max(sizes.items(), key=lambda item: (item[1], item[0][0] * item[0][1]))
    if board.cols < board.rows:
        cols, rows = rows, cols
    return replace(board, kind="chessboard", cols=cols, rows=rows, marker_m=None)


def chessboard_size(image: Image) -> tuple[int, int] | None:
    """Squares across and down of the largest chessboard in a photo."""
    small = shrunk(image)
    found, _, meta = cv2.findChessboardCornersSBWithMeta(
        small, (3, 3), CHESSBOARD_FLAGS | cv2.CALIB_CB_LARGER
    )
    return (meta.shape[1] + 1, meta.shape[0] + 1) if found else None


def _first_found(images: Iterable[Image], boards: Iterable[Board]) -> Board | None:
    for board in boards:
        detector = BoardDetector(board)
        if any(detector.detect(image) is not None for image in images):
            return board
    return None


def _with_markers(images: Sequence[Image], board: Board) -> Board | None:
    for named in (board, *_other_dictionaries(board)):
        seen = [s for image in images if (s := _markers(image, named)) is not None]
        if seen:
            return _layout(seen, named)
    return None


def _other_dictionaries(board: Board) -> Iterable[Board]:
    """The same board with other markers, the largest dictionary of each kind."""
    if board.kind not in CHARUCO:
        return
    for bits in (4, 5, 6, 7):
        yield replace(board, dictionary=f"DICT_{bits}X{bits}_1000")


def _markers(image: Image, board: Board) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Numbers (N,) and centres (N,2) of the markers in a photo; None for too few."""
    detector = (
        tag_detector(board)
        if board.kind == "aprilgrid"
        else cv2.aruco.ArucoDetector(board.markers_of(), cv2.aruco.DetectorParameters())
    )
    corners, ids, _ = detector.detectMarkers(image)
    if ids is None or len(ids) < LEAST_MARKERS:
        return None
    centres = np.asarray(corners, np.float64).reshape(-1, 4, 2).mean(axis=1)
    return np.asarray(ids, np.int64).ravel(), centres


def _layout(
    seen: list[tuple[NDArray[np.int64], NDArray[np.float64]]], board: Board
) -> Board | None:
    """The board on which the markers lie as they are seen."""
    markers = 1 + max(int(ids.max()) for ids, _ in seen)
    kinds = CHARUCO if board.kind in CHARUCO else (board.kind,)
    best, best_share = None, AGREE_SHARE
    for cols in range(2, MOST_COLS + 1):
        each = 1 if board.kind == "aprilgrid" else 2
        rows = -(-markers * each // cols)
        if min(cols, rows) < each + 1 or max(cols, rows) > MOST_COLS:
            continue
        for kind in kinds:
            there = replace(board, cols=cols, rows=rows, kind=kind)
            share = float(np.mean([_agreeing(ids, xy, there) for ids, xy in seen]))
            if share > best_share:
                best, best_share = there, share
    return best


def _agreeing(ids: NDArray[np.int64], xy_px: NDArray[np.float64], board: Board) -> float:
    """Share of the markers that a homography from the board puts where they are."""
    centres = _marker_centres(board)
    known = ids < len(centres)
    if known.sum() < LEAST_MARKERS:
        return 0.0
    xy_px, board_xy = xy_px[known], centres[ids[known]]
    apart = np.linalg.norm(xy_px[:, None] - xy_px[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    limit_px = AGREE * float(np.median(apart.min(axis=1)))
    matrix, inliers = cv2.findHomography(board_xy, xy_px, cv2.RANSAC, limit_px)
    return 0.0 if matrix is None else float(inliers.sum()) / len(ids)


def _marker_centres(board: Board) -> NDArray[Any]:
    """(M,2) on the board, by number."""
    if board.kind == "aprilgrid":
        tags = np.arange(board.markers)
        return np.stack([tags % board.cols, -(tags // board.cols)], axis=1).astype(np.float64)
    corners = np.asarray(board.charuco().getObjPoints(), np.float64)
    return np.asarray(corners[:, :, :2].mean(axis=1))
