"""Sign a map bundle or a delta, so that a device can require it, or make the keys to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.bundle import open_bundle
from edge_reloc.bundle.layout import TILES_FILE, TILES_SIGNATURE
from edge_reloc.bundle.signing import make_key_pair, sign_file, write_signature
from edge_reloc.command_line.program import OK, program
from edge_reloc.delta.delta_file import open_delta, signature_file
from edge_reloc.errors import BundleError
from edge_reloc.files import open_file
from edge_reloc.tiles.coarse_retrieval import open_places
from edge_reloc.tiles.index import is_tiled, open_tiles


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write a signature or a pair of keys; 0 when it is there."""
    parser = argparse.ArgumentParser(prog="edge-reloc sign", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--map",
        type=Path,
        help="map bundle, or map of tiles; manifest.sig or tiles.sig goes into it",
    )
    what.add_argument(
        "--delta", type=Path, metavar="FILE", help="delta of 'update' or 'diff'; FILE.sig is made"
    )
    what.add_argument(
        "--new-key",
        type=Path,
        metavar="FILE",
        help="make a private key, to be kept secret, and its public one, FILE.pub",
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key to sign with")
    options = parser.parse_args(argv)
    if (options.new_key is None) != (options.key is not None):
        parser.error("--map or --delta go with --key")
    if options.new_key is not None:
        public = make_key_pair(options.new_key)
        print(f"{options.new_key}: private, keep it secret\n{public}: for --require-signed")
        return OK
    if options.delta is not None:
        if not options.delta.is_file():
            raise BundleError(f"{options.delta}: no such delta; 'edge-reloc update' writes one")
        with open_file(options.delta) as stream:  # vouch for nothing else
            header = open_delta(options.delta, stream).header
        path = sign_file(options.delta, signature_file(options.delta), options.key)
        signed = "signed" if header.signature else "not signed"
        print(f"{path}: signs the delta; the map that it makes is {signed}")
        return OK
    if is_tiled(options.map):
        tiled = open_tiles(options.map)
        for tile in tiled.tiles:  # vouch for no damaged file
            tiled.open_tile(tile, verify=True)
        open_places(tiled)
        path = write_signature(
            options.map, options.key, signed=TILES_FILE, signature=TILES_SIGNATURE
        )
        print(f"{path}: signs {len(tiled.tiles)} tiles, {tiled.nbytes / 1e6:.2f} MB")
        return OK
    bundle = open_bundle(options.map, verify=True)  # vouch for no damaged file
    path = write_signature(options.map, options.key)
    print(f"{path}: signs {len(bundle.manifest.files)} files, {bundle.nbytes() / 1e6:.2f} MB")
    return OK


if __name__ == "__main__":
    sys.exit(main())
