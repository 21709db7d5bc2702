"""Which code did something: the package's version and a digest of its files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import edge_reloc

PACKAGES = Path(edge_reloc.__file__).parent, Path(__file__).resolve().parents[1]
#: sources, kernels, and weights that ship
KINDS = ".py", ".cu", ".pt"
DIGITS = 8


@cache
def code_version() -> str:
    """Such as `0.2.0+1f3a9c02`: another one as soon as a line of either package is."""
    digest = hashlib.blake2b()
    for package in PACKAGES:
        files = (path for path in package.rglob("*") if path.suffix in KINDS)
        for path in sorted(files):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()} {len(content)} ".encode())
            digest.update(content)
    return f"{edge_reloc.__version__}+{digest.hexdigest()[:DIGITS]}"
