"""What localisation takes in time and memory: `python -m edge_reloc.profile`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command_line.arguments import (
    above_zero,
    add_budget_arguments,
    add_settings_arguments,
    add_source_arguments,
    check_source_arguments,
    session_options,
    whole,
)
from .command_line.program import KNOWN_ERROR, OK, program
from .errors import ConfigError
from .files import check_writable, read_small, write_atomic

if TYPE_CHECKING:
    from .profiling.report import Profile

DEFAULT_FRAMES = 300
PROFILE_BYTES = 1 << 26


@program
def main(argv: Sequence[str] | None = None) -> int:
    """0 when every condition holds, 1 with the lines of those that do not."""
    begun = time.perf_counter()
    options = parse(argv)
    cold: dict[str, float] = {}
    from .profiling.conditions import parse_condition
    from .profiling.faults import read_faults
    from .profiling.page import to_html
    from .profiling.profiler import ProfileOptions, Profiler
    from .running.budget import libraries_bytes
    from .running.session import Session

    conditions = [parse_condition(text) for text in options.conditions]
    for path in (options.save, options.html):
        if path is not None:
            check_writable(path)
    before = _read_profile(options.compare) if options.compare else None
    faults = read_faults(options.faults) if options.faults else None
    libraries = libraries_bytes()
    cold["import libraries"] = _lap(begun)
    begun = time.perf_counter()
    with Session(session_options(options)) as session:
        cold["open map, plan, networks"] = _lap(begun)
        if not options.json:
            print(session.headline())
        wanted = ProfileOptions(
            frames=options.frames or (None if options.seconds else DEFAULT_FRAMES),
            seconds=options.seconds,
            warm_up=options.warm_up,
            sample_every=options.sample_every,
            samples=options.samples,
            allocations=options.allocations,
            faults=faults,
        )
        profile = Profiler(session, wanted, cold, libraries).run(_progress())
        title = f"edge_reloc profile of {session.bundle.manifest.name}"
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    values = profile.to_json()
    print(json.dumps(values, allow_nan=False) if options.json else profile.to_text())
    if options.save:
        write_atomic(options.save, json.dumps(values, indent=1, allow_nan=False) + "\n")
    if options.html:
        write_atomic(options.html, to_html(profile, title))
    if before is not None and not options.json:
        print(compare(before, profile))
    failures = [f for f in (c.failure(profile.figures()) for c in conditions) if f is not None]
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return KNOWN_ERROR if failures else OK


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; exits with 2 when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="edge-reloc profile",
        description="Measure time and memory of localisation. Sources that end begin again. "
        "Ctrl-C ends with the report.",
    )
    add_source_arguments(parser)
    add_settings_arguments(parser)
    add_budget_arguments(parser)
    add = parser.add_argument
    add("--frames", type=whole(1), metavar="N", help=f"to measure (default {DEFAULT_FRAMES})")
    add(
        "--seconds",
        type=above_zero(),
        metavar="T",
        help="to measure, instead of or beside --frames",
    )
    add("--warm-up", type=whole(1), default=10, metavar="N", help="frames before (default 10)")
    add(
        "--sample-every",
        type=whole(1),
        default=10,
        metavar="N",
        help="frames between memory samples",
    )
    add("--samples", type=Path, metavar="JSONL", help="write each memory sample there at once")
    add("--faults", type=Path, metavar="JSON", help="scenario of faults: see docs/profiling.md")
    add(
        "--allocations",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="trace Python's allocations over some frames at the end (default: yes)",
    )
    add("--html", type=Path, metavar="FILE", help="one page with plots")
    add("--save", type=Path, metavar="JSON", help="everything, for --compare")
    add("--compare", type=Path, metavar="JSON", help="show what moved since that profile")
    add(
        "--assert",
        dest="conditions",
        action="append",
        default=[],
        metavar="CONDITION",
        help="such as 'p99_ms<50' or 'growth_bytes==0'; exit 1 with the line that fails; "
        "repeatable",
    )
    add("--json", action="store_true", help="everything as JSON")
    options = parser.parse_args(argv)
    check_source_arguments(parser, options)
    return options


def compare(before: dict[str, Any], profile: Profile) -> str:
    """Figures that moved, old and new, as lines for people."""
    lines = ["figure                             before        now"]
    old = before["figures"]
    for name, now in profile.figures().items():
        was = old.get(name)
        if was is None or now is None or was == now:
            continue
        share = f"{now / was - 1.0:+8.1%}" if was else ""
        lines.append(f"{name:<30} {_figure(was):>10} {_figure(now):>10} {share}")
    return "\n".join(lines)


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _read_profile(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_small(path, PROFILE_BYTES))
        if isinstance(values["figures"], dict):
            return dict(values)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise ConfigError(f"{path}: not a profile; make one with 'edge-reloc profile --save FILE'")


def _lap(begun: float) -> float:
    return (time.perf_counter() - begun) * 1e3


def _progress() -> Callable[[int, float], None]:
    def show(frames: int, ms: float) -> None:
        if frames % 10 == 0 and sys.stderr.isatty():
            print(f"\r\x1b[K{frames} frames, {ms:.1f} ms", end="", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
