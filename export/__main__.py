"""`edge-reloc export <what>`: maps and their networks made ready for the device."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from edge_reloc.command_line.program import OK, USAGE, program


class Step(NamedTuple):
    """Where a step lives and what it is for."""

    module: str
    summary: str


STEPS = {
    "onnx": Step(".export_onnx", "strongly typed float16 ONNX of a map's networks"),
    "compact": Step(".export_compact", "float32 networks of half the size on disk, as fast"),
    "int8": Step(".export_int8", "a map with descriptors of half the size"),
    "prune": Step(".export_prune", "a map with fewer points, for every method"),
    "single": Step(".export_single", "a map of one method: only the files that it reads"),
    "parity": Step(".export_parity", "what float16 changes: numbers, keypoints, poses"),
    "describe": Step(".export_describe", "what a device must know of a map's networks"),
    "engine": Step(".export_engine", "TensorRT engines, for this GPU or ahead of time"),
}


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run one step; its exit code, or 2 for an unknown name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in STEPS:
        asked = bool(arguments) and arguments[0] in ("-h", "--help")
        lines = ["usage: edge-reloc export <step> [options]    (--help after a step: its options)"]
        lines += ["", *(f"  {name:<9} {step.summary}" for name, step in STEPS.items())]
        if arguments and not asked:
            lines.insert(0, f"edge-reloc export: no step '{arguments[0]}'\n")
        print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
        return OK if asked else USAGE
    module = importlib.import_module(STEPS[arguments[0]].module, __package__)
    return cast(Callable[[Sequence[str]], int], module.main)(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
