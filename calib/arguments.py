"""The options of `edge-reloc calibrate`, and which of them go together."""

from __future__ import annotations

import argparse
import math

from edge_reloc.command_line.arguments import above_zero, add_camera_arguments, whole

DEFAULT_BOARD = "charuco:8x6:0.03:0.022"  # fits A4
EXAMPLES = """\
examples:
  edge-reloc calibrate --print-board board.png
  edge-reloc calibrate --images photos --output camera.json
  edge-reloc calibrate --board chessboard:10x7:0.025 --source 0 --output camera.json
  edge-reloc calibrate --import camchain.yaml --output camera.json
  edge-reloc calibrate --calibration camera.json --export ros:camera.yaml
  edge-reloc calibrate --mount poses.jsonl --body flight.tum --calibration camera.json
  edge-reloc calibrate --source 0 --calibration camera.json --latency gyro.csv
"""


def calibrate_parser() -> argparse.ArgumentParser:
    """Of the program."""
    parser = argparse.ArgumentParser(
        prog="edge-reloc calibrate",
        description="Camera intrinsics from a printed board, judged on photos left out of the "
        "fit; camera files from and for other programs; how a camera is mounted and how late it "
        "is.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--images", help="folder, glob pattern or list of photos of the board")
    what.add_argument("--source", help="camera (0), stream or video to pick views from")
    what.add_argument("--print-board", metavar="PNG", help="write the board for printing and stop")
    what.add_argument(
        "--import",
        dest="imported",
        metavar="FILE",
        help="camera file of ROS, Kalibr, COLMAP or OpenCV instead of photos; or a static "
        "transform of ROS, the mount of --calibration",
    )
    what.add_argument(
        "--mount",
        metavar="POSES",
        help="find how the camera --calibration is mounted, from its poses (poses.jsonl or .tum) "
        "and those of --body",
    )
    parser.add_argument("--output", default="camera.json", help="camera file (default camera.json)")
    parser.add_argument(
        "--calibration", metavar="JSON", help="camera file that is completed or exported"
    )
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        metavar="FORMAT:FILE",
        help="write the camera also for ros, kalibr, colmap or opencv; repeatable",
    )
    parser.add_argument("--camera", metavar="NAME", help="which of several of --import")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_board_arguments(parser)
    _add_mount_arguments(parser)
    add_camera_arguments(parser, endless=False)
    return parser


def _add_board_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("boards")
    group.add_argument(
        "--board",
        default=DEFAULT_BOARD,
        help="charuco:COLSxROWS:SQUARE_M:MARKER_M[:DICTIONARY], chessboard:COLSxROWS:SQUARE_M "
        "(squares are counted), aprilgrid:COLSxROWS:TAG_M:SPACING (Kalibr's), "
        "circles:COLSxROWS:STEP_M or acircles:COLSxROWS:STEP_M; lengths are metres as measured "
        f"(default {DEFAULT_BOARD})",
    )
    group.add_argument(
        "--model",
        default="auto",
        choices=["auto", "pinhole", "opencv", "fisheye"],
        help="lens; auto takes the simplest that predicts photos left out (default auto)",
    )
    group.add_argument(
        "--rational", action="store_true", help="opencv with 8 instead of 5 distortion coefficients"
    )
    group.add_argument(
        "--views", type=whole(3, 10000), default=25, help="live views to take (default 25)"
    )
    group.add_argument(
        "--preview",
        metavar="PNG",
        help="live: keep the newest frame here, with what is missing drawn on it",
    )
    group.add_argument(
        "--dpi", type=whole(30, 2400), default=300, help="of --print-board (default 300)"
    )


def _add_mount_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("mount and latency")
    group.add_argument(
        "--body",
        metavar="POSES",
        help="of --mount: world_from_body over the same time, .tum or .jsonl with t_ns and rows",
    )
    group.add_argument(
        "--body-axes",
        default="flu",
        choices=["flu", "frd"],
        help="of --body, and of an IMU or frame imported: forward left up, or forward right down "
        "(default flu)",
    )
    group.add_argument(
        "--offset-ms",
        type=_offset,
        default=0.0,
        metavar="MS|auto",
        help="of --mount: added to the camera's times to have the body's; auto finds it from how "
        "fast both turn (default 0)",
    )
    group.add_argument(
        "--latency",
        metavar="CSV",
        help="measure how late frames of --source are stamped, against this log of a gyro "
        "(t_ns,wx,wy,wz) that is written meanwhile; goes into the camera file --calibration",
    )
    group.add_argument(
        "--seconds", type=above_zero(3600), default=30.0, help="of --latency (default 30)"
    )


def _offset(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e15:
        raise argparse.ArgumentTypeError(f"found {text}, expected milliseconds or auto")
    return value


def check_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Ends the program with a line for options that do not go with each other."""
    modes = ("images", "source", "print_board", "imported", "mount")
    if not any(getattr(arguments, mode) for mode in modes):
        if not arguments.export:
            parser.error(
                "one of the arguments --images --source --print-board --import --mount is "
                "required, or --export with --calibration"
            )
        if not arguments.calibration:
            parser.error("--export needs photos, --import or the camera file --calibration")
    if arguments.rational and arguments.model not in ("auto", "opencv"):
        parser.error("--rational goes with --model opencv")
    if arguments.latency and not (arguments.source and arguments.calibration):
        parser.error("--latency needs a --source and the camera file --calibration")
    if arguments.mount and not (arguments.body and arguments.calibration):
        parser.error("--mount needs the poses --body and the camera file --calibration")
