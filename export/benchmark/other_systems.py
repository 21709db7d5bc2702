"""Other systems in the same run: a command that localises what we localise."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_reloc.errors import ConfigError

from .steps import Step, Steps

#: what a command may name: the scene in this project's layout, our map of it, a folder that the
#: system may write to, threads, each n-th query, poses.jsonl (beside it NAME.facts.json)
FILLED_IN = "{scene}, {map}, {work}, {threads}, {every} and {output}"


class Localised(NamedTuple):
    """Poses of a system, and how they were made."""

    system: str
    poses: Path
    step: Step


def check(text: str) -> None:
    """Whether NAME=COMMAND can be filled in. Raises ConfigError."""
    _command(text, Path(), argparse.Namespace(threads=1, every=1))


def localise(
    steps: Steps, folder: Path, text: str, options: argparse.Namespace, after: Sequence[str]
) -> Localised:
    """Run NAME=COMMAND on the scene of a folder, unless it was. Raises StepError."""
    system, command, poses = _command(text, folder, options)
    poses.parent.mkdir(exist_ok=True)
    step = steps.run(f"localise {system}", *command, output=poses, after=after)
    return Localised(system, poses, step)


class _Filled(NamedTuple):
    system: str
    command: list[str]
    poses: Path


def _command(text: str, folder: Path, options: argparse.Namespace) -> _Filled:
    system, _, command = text.partition("=")
    poses = folder / "poses" / f"{system.replace(':', '_')}.jsonl"
    values = {
        "scene": folder / "data",
        "map": folder / "map",
        "work": folder / "peers",
        "threads": options.threads,
        "every": options.every,
        "output": poses,
    }
    try:
        words = [word.format_map(values) for word in shlex.split(command)]
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"--peer {text}: cannot be filled in ({error}); {FILLED_IN} are known"
        ) from None
    if not (system and words):
        raise ConfigError(f"--peer {text}: expected NAME=COMMAND")
    return _Filled(system, words, poses)
