"""Programs that are run once: what was done with the same command is not done again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_reloc.errors import EdgeRelocError
from edge_reloc.files import write_atomic

from ..kept_files import read_object
from .code_version import code_version

DONE = "steps.json"
TAIL_LINES = 3
PYTHON = "python"


class StepError(EdgeRelocError):
    """A program of a benchmark failed; the text ends with what it said."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A program that was run to its end."""

    #: as it is typed
    command: str
    #: by the clock
    seconds: float
    #: of this run of it
    number: str
    #: numbers of the steps, or digests of the data, that it rests on
    after: tuple[str, ...] = ()
    #: that ran it, as `code_version` tells it
    code: str = "an earlier version"


class Steps:
    """What was done in a folder, by name. Each step is kept as soon as it is done."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / DONE
        self._log = folder / "log"
        self._log.mkdir(parents=True, exist_ok=True)
        self._done: dict[str, Step] = {}
        self._asked: set[str] = set()
        try:
            kept = read_object(self._file)
            for name, values in kept.items():
                self._done[name] = Step(**{**values, "after": tuple(values["after"])})
        except FileNotFoundError:
            pass
        except (TypeError, KeyError) as error:
            raise StepError(f"{self._file}: damaged ({error!r}); remove it") from None

    def run(
        self,
        name: str,
        *command: str | Path,
        output: Path,
        after: Sequence[str] = (),
    ) -> Step:
        """Run a command, unless it was run so and `output` is there; `python` is this Python.

        after: numbers of steps, or digests of data, that it rests on; when one of them is
        another than before, it is run again. Raises StepError with the program's last words,
        which all are in log/NAME.txt.
        """
        self._asked.add(name)
        words = [str(word) for word in command]
        typed = shlex.join(words)
        before = self._done.get(name)
        rests_on = tuple(after)
        same = before is not None and (before.command, before.after) == (typed, rests_on)
        if before is not None and same and output.exists():
            return before
        print(f"{name}: {typed}", file=sys.stderr)
        log, begin = self._log / f"{name.replace('/', '_')}.txt", time.monotonic()
        with log.open("w") as stream:
            program = sys.executable if words[0] == PYTHON else words[0]
            code = self._call([program, *words[1:]], stream.fileno())
        if code != 0:
            lines = log.read_text(errors="replace").strip().splitlines()[-TAIL_LINES:]
            raise StepError(f"{name}: exit code {code}: {' / '.join(lines)} ({log})")
        step = Step(
            command=typed,
            seconds=round(time.monotonic() - begin, 1),
            number=uuid.uuid4().hex,
            after=rests_on,
            code=code_version(),
        )
        self._done[name] = step
        values = {key: vars(done) for key, done in self._done.items()}
        write_atomic(self._file, json.dumps(values, indent=1) + "\n")
        return step

    def of_other_code(self) -> list[str]:
        """A line for each other version of this package that did what was asked for here."""
        by_code: dict[str, list[str]] = {}
        for name in sorted(self._asked & set(self._done)):
            by_code.setdefault(self._done[name].code, []).append(name)
        return [
            f"{', '.join(names)}: done by {code}, this is {code_version()}; another --output does "
            f"it anew"
            for code, names in by_code.items()
            if code != code_version()
        ]

    def _call(self, command: Sequence[str], out: int) -> int:
        try:
            started = subprocess.Popen(command, stdout=out, stderr=out, env=dict(os.environ))
        except OSError as error:
            raise StepError(f"{command[0]}: cannot be run ({error.strerror})") from None
        with started as process:
            try:
                return process.wait()
            except BaseException:  # what was interrupted must not go on behind our back
                process.terminate()
                raise
