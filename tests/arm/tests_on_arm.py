"""Unit tests of the runtime on an emulated ARM processor.

`python tests/arm/tests_on_arm.py --cache ~/.cache/edge_reloc_arm tests/unit/test_pose.py`: of
pages of tests that start no programs, which the kernel would not know how to emulate.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from demo_on_arm import STACKS, TREE
from machine import unpacked

PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "mcap", "zstandard")


def main() -> int:
    """0 when the tests pass in every stack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="as of demo_on_arm.py")
    parser.add_argument("--cpu", default="cortex-a76", help="one of `qemu-aarch64 -cpu help`")
    names = [stack.name for stack in STACKS]
    parser.add_argument("--stacks", nargs="+", choices=names, default=names)
    parser.add_argument("tests", nargs="+", metavar="PATH")
    options = parser.parse_args()
    failed = 0
    for stack in (stack for stack in STACKS if stack.name in options.stacks):
        own = replace(stack, name=f"{stack.name}-tests", wheels=stack.wheels + PYTEST)
        machine = unpacked(own, "arm64", options.cache.resolve(), TREE, cpu=options.cpu)
        log = options.cache / f"{own.name}.log"
        try:
            machine.python(
                *("-m", "pytest", "-o", "addopts=-q", "-p", "no:cacheprovider"),
                *options.tests,
                log=log,
            )
        except subprocess.CalledProcessError:
            failed += 1
        print(f"{stack.name}, Python {stack.python}: {log.read_text().splitlines()[-1]}  ({log})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
