"""`edge-reloc calibrate`: photos of a board to a camera file."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_reloc.command_line.arguments import above_zero, whole
from edge_reloc.command_line.program import OK, program
from edge_reloc.files import check_writable

if TYPE_CHECKING:
    from .boards import Board
    from .gather import Gathered

DEFAULT_BOARD = "charuco:8x6:0.03:0.022"  # fits A4
EXAMPLES = """\
examples:
  edge-reloc calibrate --print-board board.png
  edge-reloc calibrate --images photos --output camera.json
  edge-reloc calibrate --board chessboard:10x7:0.025 --source 0 --output camera.json
  edge-reloc calibrate --source 0 --calibration camera.json --latency gyro.csv
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-reloc calibrate",
        description="Camera intrinsics from a printed board, judged on photos left out of the fit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--board",
        default=DEFAULT_BOARD,
        help="charuco:COLSxROWS:SQUARE_M:MARKER_M[:DICTIONARY] or chessboard:COLSxROWS:SQUARE_M; "
        f"squares are counted, lengths are metres as measured (default {DEFAULT_BOARD})",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", help="folder, glob pattern or list of photos of the board")
    what.add_argument("--source", help="camera (0), stream or video to pick views from")
    what.add_argument("--print-board", metavar="PNG", help="write the board for printing and stop")
    parser.add_argument(
        "--latency",
        metavar="CSV",
        help="measure how late frames of --source are stamped, against this log of a gyro "
        "(t_ns,wx,wy,wz) that is written meanwhile; goes into the camera file --calibration",
    )
    parser.add_argument(
        "--calibration", metavar="JSON", help="camera file that --latency completes"
    )
    parser.add_argument(
        "--seconds", type=above_zero(3600), default=30.0, help="of --latency (default 30)"
    )
    parser.add_argument("--output", default="camera.json", help="camera file (default camera.json)")
    parser.add_argument(
        "--model",
        default="auto",
        choices=["auto", "pinhole", "opencv", "fisheye"],
        help="lens; auto takes the simplest that predicts photos left out (default auto)",
    )
    parser.add_argument(
        "--rational", action="store_true", help="opencv with 8 instead of 5 distortion coefficients"
    )
    parser.add_argument(
        "--views", type=whole(3, 10000), default=25, help="live views to take (default 25)"
    )
    parser.add_argument(
        "--dpi", type=whole(30, 2400), default=300, help="of --print-board (default 300)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print a board, or calibrate and write the camera file."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.rational and arguments.model not in ("auto", "opencv"):
        parser.error("--rational goes with --model opencv")
    if arguments.latency:
        if not (arguments.source and arguments.calibration):
            parser.error("--latency needs a --source and the camera file --calibration")
        return _measure_latency(arguments)
    from .boards import parse_board

    board = parse_board(arguments.board)
    if arguments.print_board:
        from .printing import write_board

        print(write_board(arguments.print_board, board, arguments.dpi))
        return OK
    from edge_reloc.geometry.camera import write_camera

    from .intrinsics import calibrate
    from .report import Report

    check_writable(arguments.output)
    gathered = _gather(arguments, board)
    lens = "rational" if arguments.rational else arguments.model
    calibration = calibrate(gathered.views, gathered.width, gathered.height, lens)
    report = Report(gathered, calibration)
    write_camera(arguments.output, calibration.camera)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print(report.text())
        print(f"written     {arguments.output}")
    return OK


def _measure_latency(arguments: argparse.Namespace) -> int:
    """Watch a moving camera, compare with the gyro's log, and complete the camera file."""
    from edge_reloc.errors import SourceError
    from edge_reloc.geometry.camera import read_camera, write_camera
    from edge_reloc.sources import open_source

    from .latency import compare, read_gyro, turn_rates

    camera = replace(read_camera(arguments.calibration), latency_ms=None)
    check_writable(arguments.calibration)
    progress = _progress_line()
    with contextlib.closing(open_source(arguments.source, camera, exit_on_end=True)) as source:
        if not source.live:
            raise SourceError(
                f"{arguments.source}: no live source; its times are of no clock that a gyro's "
                f"log could be of"
            )
        print(f"turn the camera to and fro for {arguments.seconds:.0f} s: {source.about}")
        end_s = time.monotonic() + arguments.seconds
        frames = itertools.takewhile(lambda _: time.monotonic() < end_s, source)
        rates = turn_rates(frames, camera, progress)
        progress("")
    latency = compare(rates, *read_gyro(arguments.latency))
    write_camera(arguments.calibration, replace(camera, latency_ms=round(latency.latency_ms, 2)))
    print(latency.text())
    print(f"written     {arguments.calibration}")
    return OK


def _gather(arguments: argparse.Namespace, board: Board) -> Gathered:
    """Views of the board from the source that the options name."""
    from edge_reloc.sources import open_source

    from .gather import gather_live, gather_photos

    progress = _progress_line()
    source = open_source(arguments.images or arguments.source, exit_on_end=True)
    try:
        if arguments.images:
            gathered = gather_photos(source, board, progress)
        else:
            gathered = gather_live(source, board, arguments.views, progress)
    finally:
        source.close()
        progress("")
    for line in source.skipped:
        name, _, reason = line.partition(": ")
        gathered.rejected[name] = reason
    return gathered


def _progress_line() -> Callable[[str], None]:
    """One line on stderr that is written over; silent when it is no terminal."""
    if not sys.stderr.isatty():
        return lambda text: None

    def show(text: str) -> None:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
