"""What every program that localises a source asks on its command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Map or demo, frames, calibration."""
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


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """How to localise, and in how much memory."""
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
        "--registration",
        choices=["one_pass", "landmark_wise"],
        help="of method landmarks: all at once, or one after the other (default: the map's)",
    )
    parser.add_argument(
        "--landmarks", type=int, metavar="N", help="of method landmarks: how many are tried"
    )
    parser.add_argument(
        "--tracking",
        action="store_true",
        help="begin with the pose that the last frames predict; for videos and cameras",
    )
    parser.add_argument(
        "--candidates", type=int, metavar="N", help="map points a frame at most (default: tuned)"
    )
    parser.add_argument(
        "--match-block",
        type=int,
        metavar="N",
        help="candidates compared at once: memory for speed (default 256)",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "float16"],
        help="of networks (default: float32 where the map has it)",
    )
    parser.add_argument(
        "--engine",
        choices=["onnxruntime", "tensorrt", "auto"],
        help="of networks (default: tensorrt where the map has engines and there is a GPU); "
        "auto falls back to onnxruntime when tensorrt does not work",
    )
    parser.add_argument(
        "--matcher", choices=["cpu", "cuda"], help="default: cuda with tensorrt, otherwise cpu"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="of networks and matching (default 0: one a core)",
    )
    parser.add_argument(
        "--in-flight",
        type=int,
        choices=[1, 2],
        default=1,
        help="frames worked on at once; 2: more poses a second, each somewhat later (default 1)",
    )
    parser.add_argument(
        "--budget",
        type=byte_size,
        metavar="SIZE",
        help="host memory of the whole process, such as 256MiB; refuse to start over it",
    )
    parser.add_argument(
        "--fit", action="store_true", help="lower limits until --budget is kept, and say which"
    )


def check_source_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with 2 when the options make no sense together."""
    given = [options.camera is not None, options.source is not None, options.list is not None]
    if options.demo and any([*given, options.calibration is not None]):
        parser.error("--demo brings its own frames and calibration")
    if not options.demo and not any(given):
        parser.error("one of --camera, --source or --list is required with --map")
    if options.camera is not None and options.list is not None:
        parser.error("--list goes with --source, not with --camera")
    if options.frames is not None and options.frames < 1:
        parser.error(f"--frames is {options.frames}, expected at least 1")
    if options.fit and options.budget is None:
        parser.error("--fit needs a --budget to fit into")


def byte_size(text: str) -> int:
    """Bytes of a size as people write it: 256MiB, 1.5G, 65536."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?b)?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; expected such as 512MiB or 1GiB")
    return int(float(match[1]) * UNITS[match[2]])
