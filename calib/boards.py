"""Calibration boards: what they are, how they are drawn and found.

A board is written as text, squares counted in both kinds:
`charuco:COLSxROWS:SQUARE_M:MARKER_M[:DICTIONARY]` (or `charuco_legacy:...`
for boards drawn before OpenCV 4.6 with an even number of rows) and
`chessboard:COLSxROWS:SQUARE_M`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import ConfigError

from .corners import refine_corners

KINDS = ("charuco", "charuco_legacy", "chessboard")
DEFAULT_DICTIONARY = "DICT_5X5_250"
SEARCH_SIDE_PX = 1280  # longer side of the image in which a chessboard is searched
MIN_SQUARES = 3  # a side; fewer give no plane to speak of


@dataclass(frozen=True)
class Detection:
    """Inner corners of a board in one image, N of them."""

    #: (N,) their numbers, row by row from the board's top left
    corner: NDArray[np.int64]
    #: (N,2) pixels, centre of the top-left pixel at (0, 0)
    xy_px: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.corner)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A flat board of `cols` x `rows` squares of `square_m` metres.

    Board frame: origin at the outer top-left corner, x along a row, y down the
    columns, z = 0.
    """

    #: one of KINDS
    kind: str
    #: squares in a row, not inner corners
    cols: int
    #: squares in a column
    rows: int
    #: side of a square, metres, 0.001 to 2
    square_m: float
    #: side of a marker, metres, less than the square's; None on a chessboard
    marker_m: float | None = None
    #: OpenCV's name of the markers' dictionary; of ChArUco boards only
    dictionary: str = DEFAULT_DICTIONARY

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"board: found '{self.kind}', expected one of {', '.join(KINDS)}")
        if min(self.cols, self.rows) < MIN_SQUARES:
            raise ConfigError(
                f"board: found {self.cols}x{self.rows} squares, expected at least "
                f"{MIN_SQUARES}x{MIN_SQUARES} (squares are counted, not inner corners)"
            )
        if not 0.001 <= self.square_m <= 2:
            raise ConfigError(
                f"board: found squares of {self.square_m} m, expected 0.001 to 2 (metres: 30 mm "
                f"is 0.03)"
            )
        if self.has_markers:
            self._check_markers()

    def _check_markers(self) -> None:
        if self.marker_m is None or not 0 < self.marker_m < self.square_m:
            raise ConfigError(
                f"board: found markers of {self.marker_m} m, expected more than 0 and less than "
                f"the square's {self.square_m} m"
            )
        if not self.dictionary.startswith("DICT_") or not hasattr(cv2.aruco, self.dictionary):
            raise ConfigError(
                f"board: found dictionary '{self.dictionary}', expected a name of OpenCV such as "
                f"{DEFAULT_DICTIONARY}"
            )
        needed, there = self.cols * self.rows // 2, len(self._dictionary().bytesList)
        if needed > there:
            raise ConfigError(
                f"board: {self.cols}x{self.rows} squares need {needed} markers but "
                f"{self.dictionary} has {there}; choose a larger dictionary"
            )

    @property
    def has_markers(self) -> bool:
        """Whether parts of the board can be told apart."""
        return self.kind != "chessboard"

    @property
    def clear(self) -> float:
        """Share of a square around an inner corner that shows only its edges."""
        if self.marker_m is None:
            return 0.3
        return 0.9 * (self.square_m - self.marker_m) / 2 / self.square_m

    @property
    def text(self) -> str:
        """The board as it is written on the command line."""
        base = f"{self.kind}:{self.cols}x{self.rows}:{self.square_m:g}"
        return f"{base}:{self.marker_m:g}:{self.dictionary}" if self.has_markers else base

    @property
    def corners_m(self) -> NDArray[np.float64]:
        """(N,3) inner corners in the board frame, metres, row by row."""
        x, y = np.meshgrid(np.arange(1, self.cols), np.arange(1, self.rows))
        flat = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
        return np.asarray(flat * self.square_m)

    def draw(self, square_px: int) -> NDArray[np.uint8]:
        """The board alone, (rows*square_px, cols*square_px) uint8."""
        if self.has_markers:
            size = (self.cols * square_px, self.rows * square_px)
            return np.asarray(self._charuco().generateImage(size, marginSize=0, borderBits=1))
        rows, cols = np.indices((self.rows, self.cols))
        squares = np.where((rows + cols) % 2 == 0, 0, 255).astype(np.uint8)
        return np.kron(squares, np.ones((square_px, square_px), np.uint8))

    def look_alikes(self) -> Iterator[Board]:
        """What people mean when they write this board, likeliest first."""
        if self.has_markers:
            other = "charuco" if self.kind == "charuco_legacy" else "charuco_legacy"
            yield replace(self, kind=other)
            yield replace(self, cols=self.rows, rows=self.cols)
            yield replace(self, kind=other, cols=self.rows, rows=self.cols)
        else:  # inner corners were counted, as OpenCV's own examples do
            yield replace(self, cols=self.cols + 1, rows=self.rows + 1)

    def _dictionary(self) -> Any:
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))

    def _charuco(self) -> Any:
        size = (self.cols, self.rows)
        board = cv2.aruco.CharucoBoard(size, self.square_m, self.marker_m, self._dictionary())
        board.setLegacyPattern(self.kind == "charuco_legacy")
        return board


class BoardDetector:
    """Finds one board in grey images."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._charuco = cv2.aruco.CharucoDetector(board._charuco()) if board.has_markers else None

    def detect(self, grey: NDArray[np.uint8]) -> Detection | None:
        """Corners in an image (H,W) uint8, or None when the board is not there."""
        found = self._detect_charuco(grey) if self._charuco else self._detect_chessboard(grey)
        if found is None or len(found) < 2 or not np.all(np.isfinite(found.xy_px)):
            return None
        return Detection(found.corner, refine_corners(grey, found.xy_px, self.board.clear))

    def _detect_charuco(self, grey: NDArray[np.uint8]) -> Detection | None:
        assert self._charuco is not None
        xy, ids, _, _ = self._charuco.detectBoard(grey)
        if ids is None or len(ids) == 0:
            return None
        corner = np.asarray(ids, dtype=np.int64).ravel()
        order = np.argsort(corner)
        return Detection(corner[order], np.asarray(xy, np.float64).reshape(-1, 2)[order])

    def _detect_chessboard(self, grey: NDArray[np.uint8]) -> Detection | None:
        pattern = (self.board.cols - 1, self.board.rows - 1)
        flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
        # The search takes seconds on a large photo; corners are refined in the original.
        shrink = min(1.0, SEARCH_SIDE_PX / max(grey.shape))
        small = grey
        if shrink < 1:
            small = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        found, xy = cv2.findChessboardCornersSB(small, pattern, flags=flags)
        if not found:
            return None
        scale = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]])
        xy_px = (np.asarray(xy, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5
        return Detection(np.arange(len(xy_px)), xy_px)


def parse_board(text: str) -> Board:
    """The board of a command-line text; ConfigError says what is wrong."""
    kind, _, rest = text.strip().partition(":")
    parts = rest.split(":")
    size = re.fullmatch(r"(\d+)x(\d+)", parts[0])
    counts = (2, 2) if kind == "chessboard" else (3, 4)
    if kind not in KINDS or size is None or not counts[0] <= len(parts) <= counts[1]:
        raise ConfigError(
            f"board '{text}': expected charuco:COLSxROWS:SQUARE_M:MARKER_M[:DICTIONARY] or "
            f"chessboard:COLSxROWS:SQUARE_M, for example charuco:8x6:0.03:0.022"
        )
    try:
        lengths_m = [float(part) for part in parts[1:3]]
    except ValueError:
        raise ConfigError(f"board '{text}': lengths are metres, for example 0.03") from None
    return Board(
        kind=kind,
        cols=int(size.group(1)),
        rows=int(size.group(2)),
        square_m=lengths_m[0],
        marker_m=lengths_m[1] if len(lengths_m) > 1 else None,
        dictionary=parts[3] if len(parts) > 3 else DEFAULT_DICTIONARY,
    )
