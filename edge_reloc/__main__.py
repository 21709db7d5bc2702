"""`edge-reloc <program>`: the one command, a table of programs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from . import __version__
from .command_line.program import OK, USAGE, program


class Program(NamedTuple):
    """Where a program lives and what it is for."""

    module: str
    summary: str


PROGRAMS = {
    "run": Program("edge_reloc.run", "poses from a camera, a video or photos"),
    "evaluate": Program("edge_reloc.evaluate", "accuracy and speed against reference poses"),
    "profile": Program("edge_reloc.profile", "time and memory of localisation, for your CI too"),
    "inspect": Program("edge_reloc.inspect", "what is in a map bundle, and is it intact"),
    "map": Program("edge_reloc_export.map", "photos or a COLMAP model to a map bundle"),
    "train": Program("edge_reloc_export.train", "train a head of a map bundle"),
    "bench": Program("edge_reloc_export.bench", "data sets as published to one table of results"),
    "update": Program("edge_reloc_export.update", "new photos into a map, what is gone out of it"),
    "apply": Program("edge_reloc.delta.apply", "bring a map up to date by a delta of 'update'"),
    "diff": Program("edge_reloc_export.diff", "what two maps of a place differ in"),
    "combine": Program("edge_reloc_export.combine", "several maps in one bundle, placed apart"),
    "align": Program("edge_reloc_export.align", "a map's scale, axes and place on Earth"),
    "coverage": Program("edge_reloc_export.map_coverage", "where a map will localise, how exactly"),
    "train-features": Program("edge_reloc_export.train_features", "our own feature network"),
    "sign": Program("edge_reloc_export.sign", "sign a map bundle, or make the keys to"),
    "doctor": Program("edge_reloc.doctor", "what this machine has and lacks, with the cure"),
    "export": Program(
        "edge_reloc_export.__main__", "float16 networks, TensorRT engines, smaller maps"
    ),
    "calibrate": Program("edge_reloc_calib.calibrate", "camera intrinsics from a board"),
}


def usage() -> str:
    """The help text: one line a program."""
    lines = ["usage: edge-reloc <program> [options]    (--help after a program: its options)", ""]
    lines += [f"  {name:<14} {entry.summary}" for name, entry in PROGRAMS.items()]
    lines += ["", "  --version  print the version"]
    return "\n".join(lines)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run one program; its exit code, or 2 for an unknown name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return OK if arguments else USAGE
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        print(f"edge-reloc {__version__}")
        return OK
    if name not in PROGRAMS:
        print(f"edge-reloc: no program '{name}'\n\n{usage()}", file=sys.stderr)
        return USAGE
    # Imported only now: `edge-reloc run` must never load what `train` needs.
    module = importlib.import_module(PROGRAMS[name].module)
    sys.argv[0] = f"edge-reloc {name}"  # argparse takes the program's name from here
    return cast(Callable[[Sequence[str]], int], module.main)(rest)


if __name__ == "__main__":
    sys.exit(main())
