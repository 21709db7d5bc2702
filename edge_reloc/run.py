"""Poses from a camera, a video or photos: `python -m edge_reloc.run`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .program import OK, program

if TYPE_CHECKING:
    from .session import Session


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Localise every frame of a source in a map; 0 when that worked."""
    options = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    from .session import Session, demo_options, session_options

    with Session(demo_options(options) if options.demo else session_options(options)) as session:
        if not options.json:
            print(session.headline())
        try:
            session.run(sys.stderr)
        finally:  # an error after an hour must not cost the summary of that hour
            report(session, as_json=options.json)
        session.write_picture()
    return OK


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; exits with 2 when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="edge-reloc run",
        description="Localise camera frames in a map bundle. Ctrl-C ends with the summary.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--map", type=Path, metavar="DIR", help="map bundle")
    where.add_argument("--demo", action="store_true", help="the map and frames that ship with it")
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument("--camera", type=int, metavar="N", help="camera /dev/videoN")
    frames.add_argument(
        "--source",
        metavar="URI",
        help="folder, photo, glob pattern, video, rtsp:// or other stream, gst:PIPELINE",
    )
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="photo names, one a line, relative to the folder --source (default: to FILE's)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="JSON",
        help="camera file of 'edge-reloc calibrate' (default: the only mapping camera)",
    )
    parser.add_argument("--method", metavar="NAME", help="default: the map's")
    parser.add_argument(
        "--head",
        choices=["generative", "cells"],
        help="of method visible_structure (default: the map's)",
    )
    parser.add_argument(
        "--second-pass",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="match once more around the first pose (default: the map's)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="poses.jsonl (every frame) or poses.tum (localised frames); repeatable",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="map, trajectory and one frame's inliers"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--precision",
        choices=["float32", "float16"],
        help="of networks (default: float32 where the map has it)",
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="of networks (default 0: every core)"
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    options = parser.parse_args(argv)
    given = [options.camera is not None, options.source is not None, options.list is not None]
    if options.demo and any([*given, options.calibration is not None]):
        parser.error("--demo brings its own frames and calibration")
    if not options.demo and not any(given):
        parser.error("one of --camera, --source or --list is required with --map")
    if options.camera is not None and options.list is not None:
        parser.error("--list goes with --source, not with --camera")
    if options.frames is not None and options.frames < 1:
        parser.error(f"--frames is {options.frames}, expected at least 1")
    return options


def report(session: Session, *, as_json: bool) -> None:
    """Print what could not be read and what the run came to."""
    for line in session.source.skipped:
        print(f"skipped {line}", file=sys.stderr)
    summary, errors = session.summary(), session.errors()
    if as_json:
        values = {**summary.to_json(), "errors": None if errors is None else errors.to_json()}
        print(json.dumps(values, allow_nan=False))
        return
    print(summary.to_text())
    if errors is not None:
        print(errors.to_text())


if __name__ == "__main__":
    sys.exit(main())
