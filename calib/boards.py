"""Calibration boards: how they are written, where their points lie, and how they are drawn.

A board is written as text, lengths in metres:

`charuco:COLSxROWS:SQUARE_M:MARKER_M[:DICTIONARY]`, squares counted (`charuco_legacy:...` for
boards drawn before OpenCV 4.6 with an even number of rows); `chessboard:COLSxROWS:SQUARE_M`,
squares counted; `aprilgrid:COLSxROWS:TAG_M:SPACING`, tags counted, the gap as a share of a tag,
as Kalibr writes it; `circles:COLSxROWS:STEP_M[:DIAMETER_M]` and `acircles:...`, circles counted,
the latter in OpenCV's asymmetric pattern, whose rows are `STEP_M` apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import ConfigError

CHARUCO = ("charuco", "charuco_legacy")
CIRCLES = ("circles", "acircles")
KINDS = (*CHARUCO, "chessboard", "aprilgrid", *CIRCLES)
DEFAULT_DICTIONARY = "DICT_5X5_250"
APRILGRID_DICTIONARY = "DICT_APRILTAG_36h11"
APRILGRID_BORDER = 2  # bits of black around a tag: Kalibr's boards, twice that of a tag alone
APRILGRID_BITS = 6 + 2 * APRILGRID_BORDER  # along a side
DIAMETER = {"circles": 0.5, "acircles": 0.8}  # of a step, where none is written
MIN_SQUARES = 3  # a side; fewer give no plane to speak of
SMOOTH = 4  # samples a pixel and side, so that edges between pixels are drawn where they are
FORMS = (
    "charuco:COLSxROWS:SQUARE_M:MARKER_M[:DICTIONARY], chessboard:COLSxROWS:SQUARE_M, "
    "aprilgrid:COLSxROWS:TAG_M:SPACING, circles:COLSxROWS:STEP_M[:DIAMETER_M] or "
    "acircles:COLSxROWS:STEP_M[:DIAMETER_M]"
)
_PARTS = {
    "charuco": (3, 4),
    "charuco_legacy": (3, 4),
    "chessboard": (2, 2),
    "aprilgrid": (3, 3),
    "circles": (2, 3),
    "acircles": (2, 3),
}


@dataclass(frozen=True, kw_only=True)
class Board:
    """A flat board of `cols` x `rows` squares, tags or circles, one each `square_m` metres.

    Board frame: origin at the outer top-left corner, x along a row, y down the
    columns, z = 0.
    """

    #: one of KINDS
    kind: str
    #: squares (not inner corners), tags or circles in a row
    cols: int
    #: of these in a column
    rows: int
    #: from one square, tag or circle to the next, metres, 0.001 to 2; of an asymmetric
    #: pattern from row to row
    square_m: float
    #: side of a marker or tag, or a circle's diameter, metres; None on a chessboard
    marker_m: float | None = None
    #: OpenCV's name of the markers' dictionary; of ChArUco boards only
    dictionary: str = DEFAULT_DICTIONARY

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"board: found '{self.kind}', expected one of {', '.join(KINDS)}")
        least = 2 if self.kind == "aprilgrid" else MIN_SQUARES
        if min(self.cols, self.rows) < least:
            counted = {"aprilgrid": "tags", "circles": "circles", "acircles": "circles"}
            what = counted.get(self.kind, "squares")
            raise ConfigError(
                f"board: found {self.cols}x{self.rows} {what}, expected at least {least}x{least}"
                + (" (squares are counted, not inner corners)" if what == "squares" else "")
            )
        if not 0.001 <= self.square_m <= 2:
            raise ConfigError(
                f"board: found squares of {self.square_m} m, expected 0.001 to 2 (metres: 30 mm "
                f"is 0.03)"
            )
        if self.kind != "chessboard":
            self._check_markers()

    def _check_markers(self) -> None:
        most_m = self.square_m * (2**0.5 if self.kind == "acircles" else 1)
        if self.marker_m is None or not 0 < self.marker_m < most_m:
            raise ConfigError(
                f"board: found markers of {self.marker_m} m, expected more than 0 and less than "
                f"the square's {most_m:g} m"
            )
        if not self.has_markers:
            return
        if not self.dictionary.startswith("DICT_") or not hasattr(cv2.aruco, self.dictionary):
            raise ConfigError(
                f"board: found dictionary '{self.dictionary}', expected a name of OpenCV such as "
                f"{DEFAULT_DICTIONARY}"
            )
        needed, there = self.markers, len(self.markers_of().bytesList)
        if needed > there:
            raise ConfigError(
                f"board: {self.cols}x{self.rows} need {needed} markers but "
                f"{self.dictionary} has {there}; choose a larger dictionary"
            )

    @property
    def has_markers(self) -> bool:
        """Whether parts of the board can be told apart."""
        return self.kind in CHARUCO or self.kind == "aprilgrid"

    @property
    def markers(self) -> int:
        """How many markers it has."""
        if not self.has_markers:
            return 0
        return self.cols * self.rows // (1 if self.kind == "aprilgrid" else 2)

    @property
    def gap(self) -> float:
        """From one tag to the next, of the distance between their centres."""
        return 1 - (self.marker_m or 0.0) / self.square_m

    @property
    def radius_m(self) -> float:
        """Of its circles; 0 for corners."""
        return (self.marker_m or 0.0) / 2 if self.kind in CIRCLES else 0.0

    @property
    def clear(self) -> float:
        """Share of the distance between neighbours around a corner that shows only its edges."""
        if self.kind == "aprilgrid":
            # Half of the way to the next corner, and what is black of the tag.
            border = (1 - self.gap) * APRILGRID_BORDER / APRILGRID_BITS
            return min(0.5 * self.gap, 0.9 * border) / min(self.gap, 1 - self.gap)
        if self.marker_m is None:
            return 0.3
        return 0.9 * (self.square_m - self.marker_m) / 2 / self.square_m

    @property
    def text(self) -> str:
        """The board as it is written on the command line."""
        base = f"{self.kind}:{self.cols}x{self.rows}"
        if self.kind == "chessboard":
            return f"{base}:{self.square_m:g}"
        assert self.marker_m is not None
        if self.kind == "aprilgrid":
            return f"{base}:{self.marker_m:g}:{self.square_m / self.marker_m - 1:.6g}"
        last = f":{self.dictionary}" if self.has_markers else ""
        return f"{base}:{self.square_m:g}:{self.marker_m:g}{last}"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, in squares."""
        if self.kind == "acircles":
            return 2 * self.cols + 1, self.rows + 1
        edge = self.gap if self.kind == "aprilgrid" else 0.0
        return self.cols + edge, self.rows + edge

    @property
    def corners_m(self) -> NDArray[np.float64]:
        """(N,3) inner corners, tags' corners or centres in the board frame, metres, row by row."""
        x, y = self._points()
        return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1) * self.square_m

    def _points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Columns' and rows' places, in squares."""
        if self.kind == "aprilgrid":
            across, down = (
                np.repeat(np.arange(n), 2) + np.tile([self.gap, 1.0], n)
                for n in (self.cols, self.rows)
            )
        elif self.kind == "circles":
            across, down = np.arange(self.cols) + 0.5, np.arange(self.rows) + 0.5
        elif self.kind == "acircles":
            across, down = np.arange(self.cols) * 2.0 + 1, np.arange(self.rows) + 1.0
        else:
            across, down = np.arange(1.0, self.cols), np.arange(1.0, self.rows)
        x, y = np.meshgrid(across, down)
        if self.kind == "acircles":
            x = x + (np.arange(self.rows) % 2)[:, None]
        return x, y

    def draw(self, square_px: int) -> NDArray[np.uint8]:
        """The board alone, uint8, one square in `square_px` pixels."""
        if self.kind in CHARUCO:
            size = (self.cols * square_px, self.rows * square_px)
            return np.asarray(self.charuco().generateImage(size, marginSize=0, borderBits=1))
        if self.kind == "chessboard":
            rows, cols = np.indices((self.rows, self.cols))
            squares = np.where((rows + cols) % 2 == 0, 0, 255).astype(np.uint8)
            return np.kron(squares, np.ones((square_px, square_px), np.uint8))
        width, height = (round(side * square_px) for side in self.size)
        y, x = ((np.arange(side * SMOOTH) + 0.5) / (SMOOTH * square_px) for side in (height, width))
        dark = self._dark_tags(x, y) if self.kind == "aprilgrid" else self._dark_circles(x, y)
        shares = dark.reshape(height, SMOOTH, width, SMOOTH).mean(axis=(1, 3))
        return np.asarray(np.round(255 * (1 - shares)), np.uint8)

    def _dark_circles(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """(H,W) whether the points of columns x and rows y, in squares, are printed."""
        dark = np.zeros((len(y), len(x)), np.bool_)
        radius = self.radius_m / self.square_m
        for centre_x, centre_y, _ in self.corners_m / self.square_m:
            left, right = np.searchsorted(x, [centre_x - radius, centre_x + radius])
            top, bottom = np.searchsorted(y, [centre_y - radius, centre_y + radius])
            away = np.hypot(x[None, left:right] - centre_x, y[top:bottom, None] - centre_y)
            dark[top:bottom, left:right] |= away <= radius
        return dark

    def _dark_tags(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """As Kalibr draws it: tag 0 at the bottom left, a black square at every tag's corner."""
        in_gap_x, in_gap_y = (v % 1 < self.gap for v in (x, y))
        dark = in_gap_y[:, None] & in_gap_x[None]
        dictionary = self.markers_of()
        for tag in range(self.markers):
            col, row = tag % self.cols, self.rows - 1 - tag // self.cols
            image = dictionary.generateImageMarker(tag, APRILGRID_BITS, borderBits=APRILGRID_BORDER)
            image = np.rot90(image, 2)  # OpenCV has the AprilTag codes upside down
            left, right = np.searchsorted(x, [col + self.gap, col + 1])
            top, bottom = np.searchsorted(y, [row + self.gap, row + 1])
            bits = [
                np.clip(
                    ((v - at - self.gap) / (1 - self.gap) * APRILGRID_BITS).astype(int),
                    0,
                    APRILGRID_BITS - 1,
                )
                for v, at in ((x[left:right], col), (y[top:bottom], row))
            ]
            dark[top:bottom, left:right] = image[np.ix_(bits[1], bits[0])] == 0
        return dark

    def markers_of(self) -> Any:
        """OpenCV's dictionary."""
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))

    def charuco(self) -> Any:
        """OpenCV's board."""
        size = (self.cols, self.rows)
        board = cv2.aruco.CharucoBoard(size, self.square_m, self.marker_m, self.markers_of())
        board.setLegacyPattern(self.kind == "charuco_legacy")
        return board


def parse_board(text: str) -> Board:
    """The board of a command-line text; ConfigError says what is wrong."""
    kind, _, rest = text.strip().partition(":")
    parts = rest.split(":")
    size = re.fullmatch(r"(\d+)x(\d+)", parts[0])
    least, most = _PARTS.get(kind, (0, 0))
    if size is None or not least <= len(parts) <= most:
        raise ConfigError(f"board '{text}': expected {FORMS}, for example charuco:8x6:0.03:0.022")
    try:
        lengths = [float(part) for part in parts[1:3]]
    except ValueError:
        raise ConfigError(f"board '{text}': lengths are metres, for example 0.03") from None
    dictionary = parts[3] if len(parts) > 3 else DEFAULT_DICTIONARY
    square_m, marker_m = lengths[0], lengths[1] if len(lengths) > 1 else None
    if kind == "aprilgrid":
        if not 0 < lengths[1] < 1:
            raise ConfigError(
                f"board '{text}': found a spacing of {lengths[1]:g}, expected the gap as a share "
                f"of a tag, as Kalibr writes it, for example aprilgrid:6x6:0.03:0.3"
            )
        square_m, marker_m = lengths[0] * (1 + lengths[1]), lengths[0]
        dictionary = APRILGRID_DICTIONARY
    elif kind in CIRCLES and marker_m is None:
        marker_m = DIAMETER[kind] * square_m
    return Board(
        kind=kind,
        cols=int(size.group(1)),
        rows=int(size.group(2)),
        square_m=square_m,
        marker_m=marker_m,
        dictionary=dictionary,
    )
