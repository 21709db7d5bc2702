"""`edge-reloc calibrate`: photos of a board to a camera file, and what else a camera file holds."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import (
    above_zero,
    add_camera_arguments,
    camera_options,
    whole,
)
from edge_reloc.command_line.program import OK, program
from edge_reloc.files import check_writable

if TYPE_CHECKING:
    from edge_reloc.arrays import F64, U8
    from edge_reloc.geometry.camera import Camera

    from .boards import Board
    from .gather import Gathered

DEFAULT_BOARD = "charuco:8x6:0.03:0.022"  # fits A4
PREVIEW_S = 0.5  # between two writes of the preview
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


def _parser() -> argparse.ArgumentParser:
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
    value = float(text)
    if not abs(value) <= 1e15:
        raise argparse.ArgumentTypeError(f"found {text}, expected milliseconds or auto")
    return value


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print a board, calibrate, import, export or complete a camera file."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
    if arguments.latency:
        return _measure_latency(arguments)
    if arguments.print_board:
        from .boards import parse_board
        from .printing import write_board

        board = parse_board(arguments.board)
        print(write_board(arguments.print_board, board, arguments.dpi))
        return OK
    _check_exports(arguments)
    if arguments.mount:
        return _find_mount(arguments)
    if arguments.imported:
        return _import(arguments)
    if arguments.images or arguments.source:
        return _calibrate(arguments)
    from edge_reloc.geometry.camera import read_camera

    _export(arguments, read_camera(arguments.calibration))
    return OK


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Options that go with each other."""
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


def _calibrate(arguments: argparse.Namespace) -> int:
    """Views of a board to a camera file."""
    from edge_reloc.geometry.camera import write_camera

    from .boards import parse_board
    from .intrinsics import calibrate
    from .report import Report
    from .requirements import check_calibration, check_photos

    board = parse_board(arguments.board)
    check_writable(arguments.output)
    gathered = _gather(arguments, board)
    check_photos(gathered)
    lens = "rational" if arguments.rational else arguments.model
    calibration = calibrate(gathered.views, gathered.width, gathered.height, lens)
    check_calibration(calibration)
    report = Report(gathered, calibration)
    write_camera(arguments.output, calibration.camera)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print(report.text())
        print(f"written     {arguments.output}")
    _export(arguments, calibration.camera)
    return OK


def _import(arguments: argparse.Namespace) -> int:
    """Another program's camera file, or the mount that it knows."""
    from edge_reloc.geometry.camera import read_camera, write_camera

    from .formats import read_camera_of, read_transforms

    found = read_transforms(arguments.imported)
    if found is None:
        camera, target = read_camera_of(arguments.imported, arguments.camera), arguments.output
        if camera.mount is not None:
            camera = camera.mounted(_flu(camera.mount, arguments.body_axes))
    else:
        from edge_reloc.errors import ConfigError

        if not arguments.calibration:
            raise ConfigError(
                f"{arguments.imported}: it holds static transforms, the mount of a camera: name "
                f"its file by --calibration"
            )
        transform = _chosen(arguments, found)
        target = arguments.calibration
        camera = read_camera(target).mounted(_flu(transform, arguments.body_axes))
    write_camera(target, camera)
    size = f"{camera.width}x{camera.height}"
    mounted = "" if camera.mount is None else ", with its mount"
    _say(arguments, f"read        {arguments.imported}: {camera.model} {size}{mounted}")
    _say(arguments, f"written     {target}")
    if arguments.json:
        print(json.dumps({"camera": camera.to_dict()}, indent=2))
    _export(arguments, camera)
    return OK


def _chosen(arguments: argparse.Namespace, found: dict[tuple[str, str], F64]) -> F64:
    """The transform to the camera that --camera names, or the only one."""
    from edge_reloc.errors import ConfigError

    named = [t for (_, child), t in found.items() if arguments.camera in (None, child)]
    if len(named) != 1:
        children = ", ".join(child for _, child in found) or "none"
        raise ConfigError(
            f"{arguments.imported}: {len(named)} transforms to the camera, expected one; name its "
            f"optical frame by --camera: {children}"
        )
    return named[0]


def _flu(body_from_cam: F64, axes: str) -> F64:
    """Of a body whose axes are forward, left, up."""
    from edge_reloc.geometry.frames import FRD_FROM_FLU
    from edge_reloc.geometry.rigid import compose

    if axes == "flu":
        return body_from_cam
    flu_from_frd = FRD_FROM_FLU.T
    return compose(flu_from_frd @ body_from_cam[:3, :3], flu_from_frd @ body_from_cam[:3, 3])


def _find_mount(arguments: argparse.Namespace) -> int:
    """Poses of camera and body to the mount of a camera file."""
    from edge_reloc.geometry.camera import read_camera, write_camera

    from .mount import find_mount
    from .trajectory import read_trajectory

    camera = read_camera(arguments.calibration)
    check_writable(arguments.calibration)
    mount = find_mount(
        read_trajectory(arguments.mount), read_trajectory(arguments.body), arguments.offset_ms
    )
    camera = camera.mounted(_flu(mount.body_from_cam, arguments.body_axes))
    write_camera(arguments.calibration, camera)
    if arguments.json:
        print(json.dumps({**mount.to_json(), "camera": camera.to_dict()}, indent=2))
    else:
        print(mount.text())
        print(f"written     {arguments.calibration}")
    _export(arguments, camera)
    return OK


def _check_exports(arguments: argparse.Namespace) -> None:
    """Faults of --export before long work, not after it."""
    from .formats import split_target

    for target in arguments.export:
        check_writable(split_target(target)[1])


def _export(arguments: argparse.Namespace, camera: Camera) -> None:
    """Write the camera as --export asks."""
    from .formats import write_camera_as

    for target in arguments.export:
        path = write_camera_as(target, camera, arguments.camera or Path(arguments.output).stem)
        _say(arguments, f"written     {path}")


def _say(arguments: argparse.Namespace, line: str) -> None:
    if not arguments.json:
        print(line)


def _measure_latency(arguments: argparse.Namespace) -> int:
    """Watch a moving camera, compare with the gyro's log, and complete the camera file."""
    from edge_reloc.errors import SourceError
    from edge_reloc.geometry.camera import read_camera, write_camera
    from edge_reloc.sources import open_source

    from .latency import compare, read_gyro, turn_rates

    camera = replace(read_camera(arguments.calibration), latency_ms=None)
    check_writable(arguments.calibration)
    progress = _progress_line()
    source = open_source(
        arguments.source, camera, options=camera_options(arguments), exit_on_end=True
    )
    with contextlib.closing(source):
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
    source: Any = open_source(
        arguments.images or arguments.source, options=camera_options(arguments), exit_on_end=True
    )
    try:
        if arguments.images:
            gathered = gather_photos(source, board, progress)
        else:
            show = _preview(arguments.preview) if arguments.preview else None
            gathered = gather_live(source, board, arguments.views, progress, show)
    finally:
        source.close()
        progress("")
    for line in source.skipped:
        name, _, reason = line.partition(": ")
        gathered.rejected[name] = reason
    return gathered


def _preview(path: str) -> Callable[[U8], None]:
    """Keeps a picture file that shows the newest frame."""
    import cv2

    from edge_reloc.files import write_atomic

    check_writable(path)
    next_s = 0.0

    def show(image: U8) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            write_atomic(path, cv2.imencode(".png", image)[1].tobytes())
            next_s = time.monotonic() + PREVIEW_S

    return show


def _progress_line() -> Callable[[str], None]:
    """One line on stderr that is written over; silent when it is no terminal."""
    if not sys.stderr.isatty():
        return lambda text: None

    def show(text: str) -> None:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
