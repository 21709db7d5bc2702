"""Store a map's descriptors as int8: half the size of what a large map mostly consists of."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import DESCRIPTORS
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import ConfigError

from .packing.quantising import quantise, unit


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    parser = argparse.ArgumentParser(prog="edge-reloc export int8", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle")
    parser.add_argument("--output", type=Path, help="write a new bundle here instead")
    options = parser.parse_args(argv)
    bundle = open_bundle(options.map)
    descriptor = bundle.array(DESCRIPTORS)
    if descriptor.dtype == np.int8:
        raise ConfigError(f"{options.map}: its descriptors are int8 already")
    stored, scale = quantise(np.asarray(descriptor, np.float32))
    restored = unit(stored.astype(np.float32) * scale)
    cosine = (restored * unit(np.asarray(descriptor, np.float32))).sum(axis=1)
    before = bundle.nbytes()
    with extend_bundle(options.map, options.output) as writer:
        writer.manifest.features = replace(bundle.manifest.features, descriptor_scale=scale)
        writer.add_array(DESCRIPTORS, stored)
    target = options.output or options.map
    print(
        f"{target}: {len(stored)} descriptors, cosine with what they were {cosine.min():.5f} at "
        f"least, {np.median(cosine):.5f} half of them; bundle {before / 1e6:.2f} -> "
        f"{open_bundle(target).nbytes() / 1e6:.2f} MB; "
        f"'edge-reloc evaluate' shows what that changes"
    )
    return OK


if __name__ == "__main__":
    sys.exit(main())
