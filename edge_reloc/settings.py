"""What a user can choose, said once: a field carries its help, choices and bounds.

The checks, the command line, `--settings file.toml` and the reference page are made of
these fields. What is one method's alone stands in its file under `methods/`.
"""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError
from .files import read_small

Choice = typing.Union[str, int]  # noqa: UP007 (an alias at run time, on Python 3.10 too)
Kind = type[Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is known of one setting."""

    #: for people: what it does
    help: str
    #: what decides where the value is None
    unset: str = "the map's"
    #: values that it may take, None for any
    choices: tuple[Choice, ...] | None = None
    #: smallest and largest value, both allowed
    at_least: float | None = None
    at_most: float | None = None
    #: value that must be exceeded
    above: float | None = None
    #: heading under which help shows it
    group: str = "localising"
    #: whether a settings file may hold it; what widens trust is said by a person
    by_file: bool = True

    def expected(self) -> str:
        """The allowed values in words, "" for any."""
        if self.choices is not None:
            names = [repr(choice) for choice in self.choices]
            return " or ".join([", ".join(names[:-1]), names[-1]] if names[:-1] else names)
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:.10g} to {self.at_most:.10g}"
        bounds = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        return ", ".join(f"{word} {v:.10g}" for word, v in bounds.items() if v is not None)

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type lies within the bounds."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
            return False
        return not (
            (self.at_least is not None and not value >= self.at_least)
            or (self.at_most is not None and not value <= self.at_most)
            or (self.above is not None and not value > self.above)
        )


def setting(default: Any, help: str, **rule: Any) -> Any:
    """A dataclass field with a `Rule`; None as default leaves the choice to the map."""
    return field(default=default, metadata={"rule": Rule(help=help, **rule)})


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Settings that check themselves when they are made. Raises ConfigError."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            check(entry, getattr(self, entry.name))


@dataclass(frozen=True, kw_only=True)
class Gate(Checked):
    """When a pose is believed."""

    min_inliers: int = setting(15, "matches that agree with a pose", at_least=6, group="gate")
    min_inlier_ratio: float = setting(
        0.04, "of all matches, the share that agrees", at_least=0.0, at_most=1.0, group="gate"
    )
    min_spread: int = setting(
        4, "parts of 4x4 of the image that inliers lie in", at_least=1, at_most=16, group="gate"
    )
    max_rotation_std_deg: float = setting(
        2.0,
        "standard deviation of the rotation; catches poses that hang on a few clumped points",
        above=0.0,
        group="gate",
    )
    min_coverage: float | None = setting(
        None,
        "share of the image parts that should agree with a refined pose and do",
        at_least=0.0,
        at_most=1.0,
        group="gate",
    )
    min_p_right: float = setting(
        0.5,
        "chance that a pose is right, below which it is refused",
        at_least=0.0,
        at_most=1.0,
        group="gate",
    )
    max_tilt_deg: float = setting(
        10.0,
        "between a pose's vertical and that of the frame, where an IMU tells it (Frame.down)",
        above=0.0,
        at_most=180.0,
        group="gate",
    )
    min_keypoints: int = setting(
        30, "below, the image is called featureless", at_least=1, group="gate"
    )


@dataclass(frozen=True, kw_only=True)
class CommonSettings(Gate):
    """How to localise, whatever the method. None takes what the map says."""

    method: str | None = setting(None, "way to localise")
    candidates: int | None = setting(None, "map points matched with a frame at most", at_least=16)
    second_pass: bool | None = setting(None, "match once more around the first pose")
    tracking: bool = setting(
        False, "begin with the pose that the last frames predict; for videos and cameras"
    )
    search_every: int = setting(
        30, "tracked frames in a row before one is searched for in the whole map", at_least=1
    )
    calibration_check: bool = setting(
        True,
        "refuse poses where the frames contradict the camera file's focal length or principal "
        "point",
        group="gate",
    )
    camera_error_percent: float | None = setting(
        None,
        "standard deviation of the camera file's focal length that you vouch for, and of its "
        "principal point in focal lengths; what protection levels allow for",
        unset="one file in a hundred may be another camera's",
        above=0.0,
        at_most=10.0,
    )
    threshold_px: float | None = setting(
        None, "reprojection error of an inlier at 640 pixels width, scaled with it", above=0.0
    )
    min_similarity: float | None = setting(
        None, "cosine that descriptors of a match reach", at_least=-1.0, at_most=1.0
    )
    max_ratio: float | None = setting(
        None,
        "distance to the best over that to the second best match; 1: no such test",
        above=0.0,
        at_most=1.0,
    )
    integrity_risk: float = setting(
        1e-3,
        "chance that an error exceeds its protection level",
        at_least=1e-7,
        at_most=0.05,
    )
    alert_limit_m: float | None = setting(
        None,
        "protection levels above it make a pose DEGRADED",
        unset="no limit",
        above=0.0,
    )
    seed: int = setting(0, "of the solver's random samples", at_least=0, at_most=2**31 - 1)
    match_block: int = setting(
        256,
        "candidates compared at once: memory for speed",
        at_least=16,
        at_most=1 << 16,
        group="machine",
    )
    precision: str | None = setting(
        None,
        "of networks",
        unset="float32 where the map has it",
        choices=("float32", "float16"),
        group="machine",
    )
    engine: str | None = setting(
        None,
        "of networks; auto falls back to onnxruntime when tensorrt does not work",
        unset="tensorrt where the map has engines built here and there is a GPU, else onnxruntime",
        choices=("onnxruntime", "tensorrt", "auto"),
        group="machine",
    )
    trust_engines: bool = setting(
        False,
        "use engines that were not built on this machine, too",
        group="machine",
        by_file=False,
    )
    engine_host_code: bool = setting(
        False,
        "run the code for the processor in version-compatible engines",
        group="machine",
        by_file=False,
    )
    matcher: str | None = setting(
        None,
        "what compares descriptors",
        unset="cuda with tensorrt, otherwise cpu",
        choices=("cpu", "cuda"),
        group="machine",
    )
    threads: int = setting(
        0, "of networks and matching, 0: one a core", at_least=0, at_most=1024, group="machine"
    )
    resident_tiles: int = setting(
        3,
        "of a map of tiles: how many are in memory at once",
        at_least=2,
        at_most=64,
        group="machine",
    )
    wait_for_tiles: bool | None = setting(
        None,
        "a frame waits until a tile that it may show is in memory",
        unset="of photos and videos yes, of cameras no",
        group="machine",
    )
    in_flight: int = setting(
        1,
        "frames worked on at once; 2: more poses a second, each somewhat later",
        choices=(1, 2),
        group="machine",
    )


S = TypeVar("S", bound=Checked)
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def check(entry: Field[Any], value: Any) -> None:
    """ConfigError when a field may not hold a value."""
    rule: Rule = entry.metadata["rule"]
    kind, optional = kind_of(entry)
    if value is None and optional:
        return
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{entry.name}: found {value!r}, expected {WORDS[kind]}")
    if not rule.allows(value):
        raise ConfigError(f"{entry.name}: found {value!r}, expected {rule.expected()}")


def kind_of(entry: Field[Any]) -> tuple[Kind, bool]:
    """Type of a setting, and whether it may be None."""
    parts = _kinds(entry.type if isinstance(entry.type, str) else str(entry.type))
    kinds = [part for part in parts if part is not types.NoneType]
    return kinds[0], len(kinds) < len(parts)


@cache
def _kinds(annotation: str) -> tuple[Kind, ...]:
    names: dict[str, Kind] = {kind.__name__: kind for kind in WORDS} | {"None": types.NoneType}
    return tuple(names[part.strip()] for part in annotation.split("|"))


def settings_from(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """Settings of plain values. ConfigError for an unknown key names the nearest known one."""
    known = [entry.name for entry in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key.replace("-", "_"), known, 1)
            meant = f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
            raise ConfigError(f"{where}: unknown setting '{key}'{meant}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_settings_file(path: Path) -> dict[str, Any]:
    """Flat values of a TOML file, not yet checked. Raises ConfigError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(read_small(path).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such settings file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from None


def default_of(entry: Field[Any]) -> Any:
    """What a field holds when nothing is said."""
    assert entry.default is not MISSING
    return entry.default
