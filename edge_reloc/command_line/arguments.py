"""What every program that localises asks on its command line; most of it made of `Settings`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.layout import MANIFEST, TILES_FILE
from ..errors import ConfigError
from ..methods.table import METHODS, Settings
from ..settings import Rule, default_of, kind_of, read_settings_file, settings_from

if TYPE_CHECKING:
    from ..running.session_options import RecorderOptions, SessionOptions
    from ..sources.options import CameraOptions

MOST_DIGITS = 20
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Map or demo, frames, calibration."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--map",
        type=Path,
        metavar="DIR",
        help="map bundle (default: $EDGE_RELOC_MAP, this folder if it is one, or the only one "
        "in maps/)",
    )
    where.add_argument("--demo", action="store_true", help="the map and frames that ship with it")
    add_signature_argument(parser)
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument("--camera", type=whole(0, 255), metavar="N", help="camera /dev/videoN")
    frames.add_argument(
        "--source",
        action=Once,
        metavar="URI",
        help="folder, photo, glob pattern, video; v4l2:///dev/videoN, csi://N, oak://, "
        "realsense://, gst:PIPELINE; rtsp://, http://, rtp://, udp:// and other streams",
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
    add_camera_arguments(parser)


def focus(text: str) -> float | str:
    """A focus in the camera's units, or "hold"."""
    if text == "hold":
        return text
    value = float(text)
    if not 0 <= value <= 1e6:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 to 1000000, or hold")
    return value


def add_camera_arguments(parser: argparse.ArgumentParser, *, endless: bool = True) -> None:
    """What is asked of a camera, and, of an endless one, what happens when it goes away."""
    group = parser.add_argument_group("camera")
    group.add_argument(
        "--camera-size", type=image_size, metavar="WxH", help="pixels (default: the calibration's)"
    )
    group.add_argument(
        "--camera-rate", type=above_zero(1000), metavar="HZ", help="frames a second (default: 30)"
    )
    group.add_argument(
        "--camera-format",
        metavar="CODE",
        help="pixels of V4L2: GREY, NV12, YU12, YUYV, UYVY, MJPG (default: the first of these "
        "that has the size at the rate)",
    )
    group.add_argument(
        "--exposure-ms",
        type=above_zero(10_000),
        metavar="MS",
        help="fixed exposure (default: the camera's own)",
    )
    group.add_argument(
        "--gain",
        type=above_zero(1e6),
        metavar="X",
        help="fixed, in the camera's units (default: its own)",
    )
    group.add_argument(
        "--focus",
        type=focus,
        metavar="X|hold",
        help="fixed, in the camera's units, or where it is now; a calibration holds at one focus "
        "(default: the camera's own)",
    )
    if not endless:
        return
    group.add_argument(
        "--exit-on-end",
        action="store_true",
        help="end when a camera or stream goes away (default: open it again)",
    )


def camera_options(options: argparse.Namespace) -> CameraOptions:
    """What the command line asks of a camera. Raises ConfigError."""
    from ..sources.options import CameraOptions

    return CameraOptions(
        size=options.camera_size,
        rate_hz=options.camera_rate,
        pixel_format=options.camera_format,
        exposure_ms=options.exposure_ms,
        gain=options.gain,
        focus=None if options.focus == "hold" else options.focus,
        hold_focus=options.focus == "hold",
    )


def add_signature_argument(parser: argparse.ArgumentParser) -> None:
    """Whose maps are opened."""
    parser.add_argument(
        "--require-signed",
        type=Path,
        metavar="PUBKEY",
        help="open the map only if the holder of this key signed it, every byte "
        "(default: signatures are not asked for)",
    )


def add_settings_arguments(
    parser: argparse.ArgumentParser, *, without: tuple[str, ...] = ()
) -> None:
    """One option a setting, and a file for many; `settings_of` reads them back."""
    parser.add_argument(
        "--settings", type=Path, metavar="TOML", help="file of settings; options go before it"
    )
    groups: dict[str, Any] = {}
    entries = [entry for entry in fields(Settings) if entry.name not in without]
    for entry in sorted(entries, key=group_order):
        rule: Rule = entry.metadata["rule"]
        if rule.group not in groups:
            method = f"method {rule.group}" if rule.group in METHODS else rule.group
            groups[rule.group] = parser.add_argument_group(method)
        kind, optional = kind_of(entry)
        default = rule.unset if optional else str(default_of(entry)).lower()
        words: dict[str, Any] = {"help": f"{rule.help} (default: {default})".replace("%", "%%")}
        if kind is bool:
            words["action"] = argparse.BooleanOptionalAction
        else:
            words |= {"type": kind, "choices": rule.choices}
            words["metavar"] = None if rule.choices else {int: "N", float: "X", str: "NAME"}[kind]
        option = "--" + entry.name.replace("_", "-")
        groups[rule.group].add_argument(option, default=argparse.SUPPRESS, **words)


def group_order(entry: Field[Any]) -> int:
    """Where help shows a setting: what is tuned most comes first."""
    order = ["localising", *METHODS, "gate", "machine"]
    return order.index(entry.metadata["rule"].group)


def add_budget_arguments(parser: argparse.ArgumentParser) -> None:
    """How much memory."""
    parser.add_argument(
        "--budget",
        type=byte_size,
        metavar="SIZE",
        help="host memory of the whole process, such as 256MiB; refuse to start over it",
    )
    parser.add_argument(
        "--fit", action="store_true", help="lower limits until --budget is kept, and say which"
    )


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """What is made of the poses of consecutive frames."""
    group = parser.add_argument_group("streams")
    group.add_argument(
        "--states",
        action=argparse.BooleanOptionalAction,
        help="give out poses only once they are confirmed, with the state of the stream "
        "(default: for cameras, streams and videos)",
    )
    group.add_argument(
        "--filter", action="store_true", help="give out smoothed poses instead of measured ones"
    )
    group.add_argument(
        "--rate",
        type=above_zero(10_000),
        metavar="HZ",
        help="poses by constant motion between frames, so many a second",
    )
    group.add_argument(
        "--predict-ms",
        type=above_zero(1_000),
        metavar="MS",
        help="such poses are for a time so much later, such as that of display; without "
        "--rate one after each frame",
    )


def check_source_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with 2 when the options make no sense together."""
    given = [options.camera is not None, options.source is not None, options.list is not None]
    if options.demo and any([*given, options.calibration is not None]):
        parser.error("--demo brings its own frames and calibration")
    if options.demo and options.require_signed is not None:
        parser.error("--require-signed is for a map of yours; --demo is part of the package")
    if not options.demo and not any(given):
        parser.error("one of --camera, --source or --list is required, or --demo")
    if options.camera is not None and options.list is not None:
        parser.error("--list goes with --source, not with --camera")
    if options.fit and options.budget is None:
        parser.error("--fit needs a --budget to fit into")


def add_recorder_arguments(parser: argparse.ArgumentParser) -> None:
    """The flight recorder, and running again what it wrote."""
    group = parser.add_argument_group("flight recorder")
    group.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="keep the last seconds of frames, poses and states in memory, and write them to this "
        "folder as MCAP on SIGUSR1, when the state becomes LOST, and after an error",
    )
    group.add_argument(
        "--record-seconds",
        type=above_zero(86400),
        metavar="S",
        help="of the stream, as far as --record-memory goes (default: 20)",
    )
    group.add_argument(
        "--record-memory",
        type=byte_size,
        metavar="SIZE",
        help="for the frames, taken at the start (default: 256MiB at most)",
    )
    group.add_argument(
        "--record-at-end", action="store_true", help="write a recording when the run ends, too"
    )
    group.add_argument(
        "--replay",
        type=Path,
        metavar="MCAP",
        help="run a recording again: same poses, to the bit. Map, camera and settings are the "
        "recorded ones; --map, --calibration and settings given here go before them",
    )


def check_rig_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with 2 when the options make no sense together."""
    alone = ("camera", "source", "list", "calibration", "mount", "replay")
    given = [name for name in alone if getattr(options, name) is not None]
    if options.demo:
        given.append("demo")
    if given:
        parser.error(f"--rig names the cameras and their files: no --{given[0]}")
    if options.fit:
        parser.error("--fit lowers limits of one camera; lower them for a --rig by hand")


def check_recorder_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with 2 when the options make no sense together."""
    given = options.record_seconds, options.record_memory, options.record_at_end or None
    if options.record is None and any(value is not None for value in given):
        parser.error("--record-seconds, --record-memory and --record-at-end need --record DIR")
    others = options.camera, options.source, options.list
    if options.replay is not None and (options.demo or any(o is not None for o in others)):
        parser.error("--replay brings its own frames: no --camera, --source, --list or --demo")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the command line asks for. Raises ConfigError."""
    return Settings(**settings_asked(options))


def settings_asked(options: argparse.Namespace) -> dict[str, Any]:
    """Those that a file or an option names, by name. Raises ConfigError."""
    values: dict[str, Any] = {}
    if options.settings is not None:
        values = read_settings_file(options.settings)
        settings_from(Settings, values, str(options.settings))
        for entry in fields(Settings):
            if entry.name in values and not entry.metadata["rule"].by_file:
                raise ConfigError(
                    f"{options.settings}: '{entry.name}' is not taken from a file; give the "
                    f"option --{entry.name.replace('_', '-')}"
                )
    known = {entry.name for entry in fields(Settings)}
    asked = {name: value for name, value in vars(options).items() if name in known}
    return {**values, **asked}


def session_options(options: argparse.Namespace) -> SessionOptions:
    """What to run, as the command line says."""
    from ..geometry.mount import read_mount
    from ..running.demo import demo_folder
    from ..running.loop import Between
    from ..running.session_options import SessionOptions

    asked = settings_asked(options)
    rate, predict_ms = getattr(options, "rate", None), getattr(options, "predict_ms", None)
    between = None
    if rate is not None or predict_ms is not None:
        between = Between(rate_hz=rate, predict_s=(predict_ms or 0.0) * 1e-3)
    common: dict[str, Any] = {
        "states": getattr(options, "states", None),
        "filtered": getattr(options, "filter", False),
        "between": between,
        "settings": Settings(**asked),
        "output": tuple(getattr(options, "output", ())),
        "mount": None if getattr(options, "mount", None) is None else read_mount(options.mount),
        "picture": getattr(options, "picture", None),
        "limit": options.frames,
        "budget_bytes": options.budget,
        "fit": options.fit,
        "recorder": _recorder_options(options),
        "camera_options": camera_options(options),
        "exit_on_end": options.exit_on_end,
    }
    if getattr(options, "replay", None) is not None:
        from ..running.replay import Replay

        replay = Replay.open(options.replay, options.map, asked)
        return SessionOptions(
            map=replay.find_map(),
            source=str(options.replay),
            calibration=options.calibration,
            require_signed=options.require_signed,
            replay=replay,
            **{**common, **replay.options(options.states)},
        )
    if getattr(options, "rig", None) is not None:
        return SessionOptions(
            map=options.map or default_map(os.environ, Path.cwd()),
            source="",
            require_signed=options.require_signed,
            **common,
        )
    if options.demo:
        demo = demo_folder()
        return SessionOptions(
            map=demo / "map",
            source=str(demo / "frames"),
            calibration=demo / "camera.json",
            truth=demo / "truth",
            **common,
        )
    if options.camera is not None:
        source, names = f"camera:{options.camera}", None
    elif options.source is None:  # a list alone: names relative to its folder
        source, names = str(options.list.parent), options.list
    else:
        source, names = options.source, options.list
    return SessionOptions(
        map=options.map or default_map(os.environ, Path.cwd()),
        source=source,
        names=names,
        calibration=options.calibration,
        require_signed=options.require_signed,
        **common,
    )


def _recorder_options(options: argparse.Namespace) -> RecorderOptions | None:
    from ..running.session_options import RecorderOptions

    if getattr(options, "record", None) is None:
        return None
    given = {
        "seconds": options.record_seconds,
        "most_bytes": options.record_memory,
        "at_end": options.record_at_end,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return RecorderOptions(folder=options.record, **given)


def default_map(environment: Mapping[str, str], here: Path) -> Path:
    """The map that is meant when none is named. Raises ConfigError."""
    if named := environment.get("EDGE_RELOC_MAP"):
        return Path(named)
    indices = (MANIFEST, TILES_FILE)
    if any((here / index).is_file() for index in indices):
        return here
    found = sorted({p.parent for index in indices for p in (here / "maps").glob(f"*/{index}")})
    if len(found) == 1:
        return found[0]
    several = f"maps/ holds {len(found)} ({', '.join(p.name for p in found[:5])})"
    raise ConfigError(
        f"which map? {several if found else 'there is none here or in maps/'}; name one with "
        f"--map DIR or EDGE_RELOC_MAP, or make one with 'edge-reloc map'"
    )


class Once(argparse.Action):
    """Stores a value; a second one, which would silently take its place, is refused."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        options: argparse.Namespace,
        value: Any,
        name: str | None = None,
    ) -> None:
        if getattr(options, self.dest) is not None:
            parser.error(f"{name} is given twice; 'edge-reloc run --rig' takes several cameras")
        setattr(options, self.dest, value)


def whole(at_least: int, at_most: int = 1 << 31) -> Callable[[str], int]:
    """Type of an option that is a whole number between bounds, both allowed."""

    def whole_number(text: str) -> int:
        value = int(text) if len(text) < MOST_DIGITS else at_most + 1
        if not at_least <= value <= at_most:
            raise argparse.ArgumentTypeError(f"found {text}, expected {at_least} to {at_most}")
        return value

    return whole_number


def above_zero(at_most: float = 1e9) -> Callable[[str], float]:
    """Type of an option that is a number above 0, and finite."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 < value <= at_most:
            raise argparse.ArgumentTypeError(f"found {text}, expected above 0 to {at_most:g}")
        return value

    return number


def image_size(text: str) -> tuple[int, int]:
    """(width, height) of a size as people write it: 1280x720."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text[:20]}' is no size; expected such as 1280x720")
    return int(match[1]), int(match[2])


def byte_size(text: str) -> int:
    """Bytes of a size as people write it: 256MiB, 1.5G, 65536."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?b)?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; expected such as 512MiB or 1GiB")
    size = float(match[1]) * UNITS[match[2]]
    if not size < 1 << 63:
        raise argparse.ArgumentTypeError(f"'{text[:20]}' is more than any machine has")
    return int(size)
