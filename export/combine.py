"""Combine several maps: apart in one bundle, as tiles of one world, or two merged into one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge_reloc.bundle import MapBundle, extend_bundle, open_bundle
from edge_reloc.bundle.writer import check_destination
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import MappingError
from edge_reloc.geometry.rigid import camera_centre

from .integrity.parts import worst
from .packing.class_tokens import ClassTokens, network_of_embedding, open_tokens
from .packing.pack import PACKED_MODEL, pack_map
from .packing.packed_model import load_packed
from .scene.combine import PhotoStore, combine_models, combine_specs, open_any_store, write_parts
from .tiles.write import write_tiles
from .work_folder import at_work, existing_work_folder, work_folder


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the combined bundle and its work folder, or the map of tiles; 0 when it is there."""
    parser = argparse.ArgumentParser(prog="edge-reloc combine", description=__doc__)
    parser.add_argument(
        "--maps",
        type=Path,
        nargs="+",
        required=True,
        help="map bundles with their work folders (MAP.work) beside them",
    )
    parser.add_argument("--names", nargs="+", help="names of the parts (default: the maps' own)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--merge",
        action="store_true",
        help="two maps of one place: the second's photos and points come into the first's world, "
        "joined where both see the same",
    )
    how.add_argument(
        "--tiles",
        action="store_true",
        help="a map of tiles (docs/tiles.md) instead of one bundle: of finished maps that lie in "
        "one world, as 'edge-reloc align --to-map' brings them into; work folders are not needed",
    )
    parser.add_argument("--output", type=Path, required=True, help="map to write")
    options = parser.parse_args(argv)
    if options.merge:
        if len(options.maps) != 2 or options.names:
            parser.error("--merge takes two --maps, and no --names: they become one")
        return _merge(options)
    names = options.names or [path.name for path in options.maps]
    if len(names) != len(options.maps):
        parser.error(f"{len(options.maps)} maps but {len(names)} names")
    if len(set(names)) != len(names):
        parser.error(f"two parts have one name ({', '.join(names)}); name them with --names")
    if options.tiles:
        return _write_tiles(dict(zip(names, options.maps, strict=True)), options.output)
    works = {name: work_folder(path) for name, path in zip(names, options.maps, strict=True)}
    bundles = [open_bundle(path) for path in options.maps]
    models = {
        name: load_packed(works[name], bundle) for name, bundle in zip(works, bundles, strict=True)
    }
    spec = combine_specs([bundle.manifest.features for bundle in bundles])
    model, origins = combine_models(models)
    work = work_folder(options.output)
    with at_work(work):
        write_parts(work, works, {name: model.gravity for name, model in models.items()})
        store = open_any_store(work)
        tokens = _tokens(bundles, store)
        name = options.output.name
        pack_map(model, store, spec, options.output, name=name, parts=origins, tokens=tokens)
        with extend_bundle(options.output) as writer:
            writer.manifest.integrity = worst([bundle.manifest.integrity for bundle in bundles])
    print(f"{options.output}: {len(model.xyz)} points of {', '.join(names)}")
    return 0


def _merge(options: argparse.Namespace) -> int:
    """The second map in the first; 0 when the bundle is there."""
    from .living.merging import merge_maps

    first, second = options.maps
    works = existing_work_folder(first), existing_work_folder(second)
    check_destination(options.output)
    work = work_folder(options.output)
    with ExitStack() as held:
        held.enter_context(at_work(work))
        for other in works:
            if other.resolve() != work.resolve():
                held.enter_context(at_work(other, alone=False))
        found = merge_maps((first, second), works, options.output, work)
    print(
        f"{options.output}: {found['points']} points, {found['kept']} of {first}, "
        f"{found['added']} new by {found['photos_added']} photos of {second}, which see "
        f"{found['seen_again']} of the first's"
    )
    return OK


def _tokens(bundles: Sequence[MapBundle], store: PhotoStore) -> ClassTokens | None:
    """What embeds the photos of all parts, where that is a network; MappingError for several."""
    networks = {network_of_embedding(bundle) for bundle in bundles}
    if networks == {None}:
        return None
    if len(networks) > 1:
        raise MappingError(
            "maps with different image embeddings cannot be combined; map all with the same "
            "--embedding and --embedding-weights"
        )
    return open_tokens(bundles[0], store)


def _write_tiles(maps: dict[str, Path], output: Path) -> int:
    """A map of tiles; photos' places are exact where a map's work folder tells them."""
    cameras = {}
    for name, path in maps.items():
        if (work_folder(path) / PACKED_MODEL).is_file():
            model = load_packed(work_folder(path), open_bundle(path))
            cameras[name] = np.array([camera_centre(view.cam_from_world) for view in model.views])
    tiled = write_tiles(output, maps, name=output.name, cameras=cameras)
    points = sum(tile.points for tile in tiled.tiles)
    print(f"{output}: {len(tiled.tiles)} tiles, {points} points, {tiled.nbytes / 1e6:.2f} MB")
    return OK


if __name__ == "__main__":
    sys.exit(main())
