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

from edge_reloc.command_line.arguments import camera_options
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import ConfigError, SourceError
from edge_reloc.files import check_writable

from .arguments import calibrate_parser, check_arguments

if TYPE_CHECKING:
    from edge_reloc.arrays import F64, U8
    from edge_reloc.geometry.camera import Camera

    from .boards import Board
    from .gather import Gathered

PREVIEW_S = 0.5  # between two writes of the preview


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print a board, calibrate, import, export or complete a camera file."""
    parser = calibrate_parser()
    arguments = parser.parse_args(argv)
    check_arguments(parser, arguments)
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
