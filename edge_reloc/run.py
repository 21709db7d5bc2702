"""Poses from a camera, a video or photos: `python -m edge_reloc.run`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .command_line.arguments import (
    add_budget_arguments,
    add_recorder_arguments,
    add_settings_arguments,
    add_source_arguments,
    add_stream_arguments,
    check_recorder_arguments,
    check_rig_arguments,
    check_source_arguments,
    session_options,
    whole,
)
from .command_line.program import OK, program

if TYPE_CHECKING:
    from .running.service import ServiceManager
    from .running.session import Session
    from .running.session_options import SessionOptions


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Localise every frame of a source in a map; 0 when that worked."""
    options = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    from .running.service import ServiceManager
    from .running.session import Session

    out = human_output(options)
    manager = ServiceManager(os.environ.get("NOTIFY_SOCKET", ""))
    asked = replace(session_options(options), alive=manager.alive)
    if options.rig is not None:
        return run_rig(options, asked, manager, out)
    with Session(asked) as session:
        manager.ready()
        if not options.json:
            print(session.headline(), file=out)
        try:
            session.run(sys.stderr)
        finally:  # an error after an hour must not cost the summary of that hour
            report(session, out, as_json=options.json)
        session.write_picture()
    return OK


def human_output(options: argparse.Namespace) -> TextIO:
    """Where headline and summary go: not where poses go."""
    taken = any(address.partition("?")[0] == "-" for address in options.output)
    return sys.stderr if taken else sys.stdout


def run_rig(
    options: argparse.Namespace, asked: SessionOptions, manager: ServiceManager, out: TextIO
) -> int:
    """The same for all cameras of a rig."""
    from .running.rig import Rig, read_rig

    with Rig(asked, read_rig(options.rig)) as rig:
        manager.ready()
        if not options.json:
            print(rig.headline(), file=out)
        try:
            rig.run(sys.stderr)
        finally:
            summaries = rig.summaries()
            if options.json:
                cameras = {name: summary.to_json() for name, summary in summaries.items()}
                print(json.dumps({"cameras": cameras}, allow_nan=False), file=out)
            else:
                texts = (f"[{name}]\n{s.to_text()}" for name, s in summaries.items())
                print("\n".join(texts), file=out)
        rig.write_pictures()
    return OK


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; exits with 2 when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="edge-reloc run",
        description="Localise camera frames in a map bundle. Ctrl-C ends with the summary.",
    )
    add_source_arguments(parser)
    add_settings_arguments(parser)
    add_budget_arguments(parser)
    add_recorder_arguments(parser)
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="TO",
        help="poses.jsonl (every frame), poses.tum (localised frames), - (standard output: lines "
        "of JSON), udp://HOST:PORT, colmap:FOLDER, shm:NAME, mavlink:LINK, ros2:, mcap:FILE, "
        "rerun:, foxglove: (docs/outputs.md); ?rate=HZ at the end limits it; repeatable",
    )
    parser.add_argument(
        "--mount",
        metavar="NAME|JSON",
        help="how the camera is mounted on the body: front, nadir, or a file with body_from_cam, "
        "four rows of four numbers (default: as the camera file says)",
    )
    parser.add_argument(
        "--rig",
        type=Path,
        metavar="JSON",
        help="several cameras in one map: name, source, calibration and body_from_cam of each",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="map, trajectory and one frame's inliers"
    )
    parser.add_argument("--frames", type=whole(1), metavar="N", help="stop after N frames")
    add_stream_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    options = parser.parse_args(argv)
    check_recorder_arguments(parser, options)
    if options.rig is not None:
        check_rig_arguments(parser, options)
    elif options.replay is None:
        check_source_arguments(parser, options)
    return options


def report(session: Session, out: TextIO, *, as_json: bool) -> None:
    """Print what could not be read and what the run came to."""
    for line in session.source.skipped:
        print(f"skipped {line}", file=sys.stderr)
    summary, errors = session.summary(), session.errors()
    if as_json:
        values = {**summary.to_json(), "errors": None if errors is None else errors.to_json()}
        print(json.dumps(values, allow_nan=False), file=out)
        return
    print(summary.to_text(), file=out)
    if errors is not None:
        print(errors.to_text(), file=out)


if __name__ == "__main__":
    sys.exit(main())
