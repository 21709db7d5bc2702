"""Board views from photos, or picked from a stream while it plays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import CameraError
from edge_reloc.structs import Frame

from .boards import Board
from .corners import edge_width_px
from .detectors import BoardDetector, Detection
from .guide import Guide
from .recognise import board_shown, chessboard_size
from .residuals import View

MIN_CORNERS = 8
FLATTEST = 0.05  # smallest spread of the corners over their largest: else a line
SHARP_PX = 5.0  # widest edge of a sharp photo of up to 2000 pixels across
STILL = 0.0015  # of the image width, a frame: mean corner motion of a board held still
NEW_PLACE = 0.05  # of the image diagonal: mean corner distance to every kept view
SAME_PLACE = 0.01  # likewise of photos: nearer to another one, it says nothing new
HINT_PHOTOS = 8  # photos in which other boards are looked for
LARGER_PHOTOS = 2  # that show the board named, in which a larger chessboard is looked for


@dataclass(kw_only=True)
class Gathered:
    """Usable views of one camera, and why the other photos are not."""

    board: Board
    #: of the photos, pixels; 0 before the first
    width: int = 0
    height: int = 0
    views: list[View] = field(default_factory=list)
    #: photo name -> reason
    rejected: dict[str, str] = field(default_factory=dict)
    #: those of them that show what another photo shows
    repeated: int = 0

    @property
    def photos(self) -> int:
        """How many photos were looked at."""
        return len(self.views) + len(self.rejected)


def gather_photos(
    frames: Iterable[Frame], board: Board, progress: Callable[[str], None]
) -> Gathered:
    """Every photo that shows the board sharply.

    Photos that show the board where another one does are set aside. Raises CameraError when
    photos differ in size, none shows the board, or they show a larger one.
    """
    detector, gathered = BoardDetector(board), Gathered(board=board)
    tried: list[NDArray[np.uint8]] = []
    shown: list[NDArray[np.uint8]] = []
    kept: dict[str, Detection] = {}
    first = ""
    for frame in frames:
        height, width = frame.image.shape[:2]
        first = first or frame.name
        if not gathered.width:
            gathered.width, gathered.height = width, height
        elif (width, height) != (gathered.width, gathered.height):
            raise CameraError(
                f"calibration photos differ in size: {first} is {gathered.width}x"
                f"{gathered.height}, {frame.name} is {width}x{height}; take all of them with one "
                f"camera at one resolution, held the same way up"
            )
        found = detector.detect(frame.image)
        problem = unusable(frame.image, found)
        if not problem and found is not None:
            problem = _repetition(found, kept, SAME_PLACE * float(np.hypot(width, height)))
            gathered.repeated += bool(problem)
        if problem:
            gathered.rejected[frame.name] = problem
        elif found is not None:
            kept[frame.name] = found
            gathered.views.append(_view(frame, found, board))
        if found is None and len(tried) < HINT_PHOTOS:
            tried.append(frame.image)
        if found is not None and len(shown) < LARGER_PHOTOS:
            shown.append(frame.image)
            if len(shown) == LARGER_PHOTOS:
                _check_whole(shown, frame.name, board)
        progress(f"{frame.name}: {problem or f'{len(found or ())} corners'}")
    if not gathered.views:
        raise CameraError(_no_board(gathered, tried))
    return gathered


def _repetition(found: Detection, kept: dict[str, Detection], distance_px: float) -> str:
    """Which photo shows the same already, or an empty text."""
    for name, other in kept.items():
        apart_px = mean_distance_px(found, other)
        if apart_px is not None and apart_px < distance_px:
            return f"shows the board where {name} does ({apart_px:.1f} px apart)"
    return ""


def _check_whole(images: Sequence[NDArray[np.uint8]], name: str, board: Board) -> None:
    """CameraError for a board that is a part of the one that all images show."""
    if board.kind != "chessboard":
        return
    sizes = {tuple(sorted(chessboard_size(image) or (0, 0))) for image in images}
    rows, cols = sizes.pop()
    if not sizes and rows * cols > board.cols * board.rows:
        shown = replace(board, cols=cols, rows=rows)
        raise CameraError(
            f"calibration: {name} shows {shown.text}, of which {board.text} is a part: "
            f"pass {shown.text} as --board"
        )


def gather_live(
    frames: Iterable[Frame],
    board: Board,
    views: int,
    progress: Callable[[str], None],
    show: Callable[[NDArray[np.uint8]], None] | None = None,
) -> Gathered:
    """Pick `views` frames in which the board is sharp, still and somewhere new.

    show: is handed each frame with what is missing drawn on it, (H,W,3) BGR.
    Ends early when the stream ends or the user presses Ctrl-C. Raises
    CameraError when the board was never usable.
    """
    picker = _Picker(board)
    gathered = picker.gathered
    try:
        for frame in frames:
            hint = picker.offer(frame)
            taken = len(gathered.views)
            progress(f"views {taken}/{views}  {picker.guide_text()}  {hint}")
            if show is not None:
                show(picker.drawn(frame))
            if taken >= views:
                break
    except KeyboardInterrupt:  # here it means: enough, calibrate now
        pass
    if not gathered.views:
        raise CameraError(
            f"calibration: {board.text} was never seen sharp and still; check the board's text, "
            f"bring it closer and add light"
        )
    return gathered


class _Picker:
    """Decides frame by frame whether a view is worth keeping."""

    def __init__(self, board: Board) -> None:
        self.gathered = Gathered(board=board)
        self._detector = BoardDetector(board)
        self._kept: list[Detection] = []
        self._before: Detection | None = None
        self._guide: Guide | None = None

    def guide_text(self) -> str:
        """What is missing, in a line."""
        return self._guide.text() if self._guide else ""

    def drawn(self, frame: Frame) -> NDArray[np.uint8]:
        """The frame with what is missing drawn on it."""
        assert self._guide is not None
        return self._guide.draw(frame.image)

    def offer(self, frame: Frame) -> str:
        """Keep the frame's view if it is good and new; a hint for the person."""
        gathered, before = self.gathered, self._before
        gathered.height, gathered.width = frame.image.shape[:2]
        if self._guide is None:
            self._guide = Guide(gathered.width, gathered.height)
        found = self._before = self._detector.detect(frame.image)
        problem = unusable(frame.image, found)
        if problem or found is None:
            return problem
        moved_px = None if before is None else mean_distance_px(found, before)
        if moved_px is None or moved_px > STILL * gathered.width:
            return "hold still"
        diagonal_px = float(np.hypot(gathered.width, gathered.height))
        if not is_new(found, self._kept, NEW_PLACE * diagonal_px):
            return "move or tilt the board"
        self._kept.append(found)
        view = _view(frame, found, gathered.board)
        gathered.views.append(view)
        self._guide.add(view)
        return "taken"


def unusable(grey: NDArray[np.uint8], found: Detection | None) -> str:
    """Why a photo cannot be used, or an empty text."""
    if found is None:
        return "no board found"
    if len(found) < MIN_CORNERS:
        return f"only {len(found)} corners of the board are seen (at least {MIN_CORNERS})"
    spread = np.linalg.svd(found.xy_px - found.xy_px.mean(axis=0), compute_uv=False)
    if spread[1] < FLATTEST * spread[0]:
        return "the corners seen lie on one line"
    width_px = edge_width_px(grey, found.xy_px)
    limit_px = SHARP_PX * max(1.0, grey.shape[1] / 2000)
    if width_px > limit_px:
        return f"blurred: edges are {width_px:.1f} px wide (at most {limit_px:.1f})"
    return ""


def mean_distance_px(a: Detection, b: Detection) -> float | None:
    """Mean distance between the corners that both have; None without any."""
    _, in_a, in_b = np.intersect1d(a.corner, b.corner, return_indices=True)
    if len(in_a) == 0:
        return None
    return float(np.linalg.norm(a.xy_px[in_a] - b.xy_px[in_b], axis=1).mean())


def is_new(found: Detection, kept: Iterable[Detection], distance_px: float) -> bool:
    """Whether the board lies elsewhere, or otherwise, than in every kept view."""
    distances = (mean_distance_px(found, other) for other in kept)
    return all(distance is None or distance > distance_px for distance in distances)


def _view(frame: Frame, found: Detection, board: Board) -> View:
    xyz = board.corners_m[found.corner]
    return View(name=frame.name, xyz_board=xyz, xy_px=found.xy_px, radius_m=board.radius_m)


def _no_board(gathered: Gathered, tried: list[NDArray[np.uint8]]) -> str:
    board = gathered.board
    problem = f"calibration: no photo of {gathered.photos} shows {board.text} usably"
    shown = board_shown(tried, board)
    if shown is not None and shown != board:
        return f"{problem}, but they show {shown.text}: pass that as --board"
    reasons = sorted(set(gathered.rejected.values()))
    return (
        f"{problem} ({'; '.join(reasons[:3])}); check the board's text, and that the board is "
        f"wholly in the picture with a white margin"
    )
