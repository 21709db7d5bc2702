"""Scenes of data sets with our methods and with peers, in one table.

    python tests/benchmarks/peers/compare.py --dataset colmap:DATA/herz_jesus --output out \
        --train visible_structure --peers aliked_lightglue:10,sift:10

`edge-reloc bench` with the adapters of this folder as its `--peer`: the same photos, poses,
cameras, machine and threads for all, poses first and scores later; what was done is not done
again. All others are compared with the first peer. Options that are not named here are bench's.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[2]))

from edge_reloc.command_line.program import program
from edge_reloc.errors import ConfigError
from edge_reloc_export import bench
from tests.benchmarks.peers.pair_matchers import PEERS

SHARED = (
    "--scene {scene} --map {map} --work {work} --threads {threads} --every {every} "
    "--output {output}"
)
ACE = "ace_style"


@program
def main(argv: Sequence[str] | None = None) -> int:
    """bench's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="More options: edge-reloc bench --help",
        allow_abbrev=False,  # --peer is bench's
    )
    known = ", ".join(f"{name}:PHOTOS" for name in PEERS)
    parser.add_argument(
        "--peers",
        default="aliked_lightglue:10",
        help=f"comma-separated: {known}, {ACE} (default aliked_lightglue:10)",
    )
    parser.add_argument("--against", help="system that others are compared with (first peer)")
    options, rest = parser.parse_known_args(argv)
    peers = [word.strip() for word in options.peers.split(",") if word.strip()]
    if not peers:
        raise ConfigError("--peers: none is named")
    arguments = [f"--peer={peer}={command_of(peer)}" for peer in peers]
    return bench.main([*rest, *arguments, "--against", options.against or peers[0]])


def command_of(peer: str) -> str:
    """What bench runs for NAME or NAME:PHOTOS. Raises ConfigError."""
    name, _, photos = peer.partition(":")
    if name == ACE and not photos:
        return f"python {_quoted('ace_style.py')} {SHARED}"
    if name not in PEERS:
        raise ConfigError(f"--peers: found '{peer}', expected {', '.join(PEERS)} or {ACE}")
    if not photos.isdigit() or int(photos) == 0:
        raise ConfigError(f"--peers: found '{peer}', expected {name}:PHOTOS, such as {name}:10")
    script = _quoted("localize_pairwise.py")
    return f"python {script} --peer {name} --photos {photos} {SHARED}"


def _quoted(script: str) -> str:
    """Braces of a path would be filled in."""
    return shlex.quote(str(HERE / script)).replace("{", "{{").replace("}", "}}")


if __name__ == "__main__":
    sys.exit(main())
