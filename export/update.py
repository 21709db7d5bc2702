"""Bring a map up to date by new photos of its place, without making it anew."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.program import OK
from edge_reloc.errors import MappingError

from .interruption import long_program
from .progress import LogHandler
from .work_folder import at_work, existing_work_folder, work_folder

if TYPE_CHECKING:
    from edge_reloc.bundle import MapBundle

    from .living.register import Registered
    from .living.updating import Base, Register


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc update", description=__doc__)
    add = parser.add_argument
    add("--map", type=Path, required=True, help="map bundle to bring up to date")
    add("--images", type=Path, required=True, help="folder of the new photos, with those below it")
    add("--list", type=Path, help="text file of photo names to use (default: all in the folder)")
    add("--camera", type=Path, help="camera file of the new photos (default: that of mapping)")
    add("--output", type=Path, help="bundle to write (default: replace the map)")
    add("--work", type=Path, help="work folder of the map (default MAP.work)")
    add("--delta", type=Path, metavar="FILE", help="write what changed, for 'edge-reloc apply'")
    add("--key", type=Path, metavar="FILE", help="private key to sign the map and the delta with")
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the updated bundle, its work folder and the delta; 0 when they are there."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogHandler()])
    logging.getLogger("edge_reloc_export").setLevel(logging.INFO)
    started = time.perf_counter()
    output = options.output or options.map
    _check(options, output)
    base_work = existing_work_folder(options.map, options.work)
    work = base_work if output.resolve() == options.map.resolve() else work_folder(output)
    from .living.updating import Target, update_map

    with ExitStack() as held:
        held.enter_context(at_work(work))
        if work != base_work:
            held.enter_context(at_work(base_work, alone=False))
        base, names, left_out = _new_photos(options, base_work, work)
        target = Target(output=output, work=work, delta=options.delta, key=options.key)
        summary = update_map(base, names, _registering(options, base, work), target)
    summary["left_out"] = {**left_out, **summary["left_out"]}
    summary["map_bytes"] = _map_bytes(output)
    if options.delta is not None:
        summary["delta_bytes"] = options.delta.stat().st_size
    summary["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(summary, indent=1) if options.json else _text(output, options, summary))
    return OK


def _check(options: argparse.Namespace, output: Path) -> None:
    """Refuse before the long work what would be refused after it."""
    from edge_reloc.bundle import open_bundle
    from edge_reloc.bundle.signing import check_private_key
    from edge_reloc.bundle.writer import check_destination
    from edge_reloc.files import check_writable
    from edge_reloc.geometry.camera import read_camera

    if options.camera is not None:
        read_camera(options.camera)
    open_bundle(options.map)
    check_destination(output)
    if options.delta is not None:
        check_writable(options.delta)
    if options.key is not None:
        check_private_key(options.key)


def _new_photos(
    options: argparse.Namespace, base_work: Path, work: Path
) -> tuple[Base, list[str], dict[str, str]]:
    """The map, names of the photos that it does not have, and why others are left out."""
    from edge_reloc.bundle import open_bundle

    from .living.extended_work import add_folder, check_base, extend_work, load_base
    from .living.updating import Base
    from .photos.listing import list_photos, read_facts

    bundle = open_bundle(options.map)
    check_base(bundle)
    model = load_base(base_work, bundle)
    store = extend_work(base_work, work)
    files = list_photos(options.images, options.list)
    facts = read_facts(options.images, files)
    label = add_folder(store, options.images)
    names = {f"{label}/{file}": file for file in files}
    if store.spec.kind != "sift":  # networks see a photo as EXIF turns it
        turned = {name: facts[file].quarter_turns for name, file in names.items() if file in facts}
        store.turns.update({name: turns for name, turns in turned.items() if turns})
    usable = store.prepare(names)
    left_out = {name: "cannot be read" for name in names if name not in usable}
    copies = store.copies([*(view.name for view in model.views), *usable])
    left_out |= {name: f"is {copies[name]} once more" for name in usable if name in copies}
    usable = [name for name in usable if name not in copies]
    if not usable:
        name, reason = next(iter(left_out.items()))
        raise MappingError(
            f"{options.images}: none of its {len(names)} photos is new to {options.map}; first: "
            f"{name} {reason}"
        )
    return Base(bundle=bundle, model=model, store=store), usable, left_out


def _registering(options: argparse.Namespace, base: Base, work: Path) -> Register:
    """Localises new photos in the map, and later in what it has become."""
    from edge_reloc.geometry.camera import read_camera

    from .living.register import register_photos
    from .living.turns import turns_by_pose

    camera = None if options.camera is None else read_camera(options.camera)
    store = base.store

    def register(bundle: MapBundle, names: Sequence[str]) -> Registered:
        paths = {name: store.photo(name) for name in names}
        found = register_photos(bundle, paths, store.turns, camera, work)
        found.views = turns_by_pose(base.model.views, found.views, store)
        return found

    return register


def _map_bytes(output: Path) -> int:
    from edge_reloc.bundle import open_bundle

    return open_bundle(output).nbytes()


def _text(output: Path, options: argparse.Namespace, summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"{output}: {summary['photos_added']} photos added to {summary['photos_before']}, "
        f"{len(summary['left_out'])} left out",
        f"  {summary['points_before']} points: {summary['kept']} kept, {summary['retired']} "
        f"retired; {summary['added']} added; {summary['seen_again']} seen again",
        f"  {summary['cells_changed']} of {summary['cells']} cells changed",
    ]
    if "delta_bytes" in summary:
        lines.append(
            f"  {options.delta}: {summary['delta_bytes'] / 1e6:.2f} MB, the map "
            f"{summary['map_bytes'] / 1e6:.2f} MB"
        )
    shown = list(summary["left_out"].items())
    lines += [f"  left out: {name}: {reason}" for name, reason in shown[:10]]
    if len(shown) > 10:
        lines.append(f"  and {len(shown) - 10} more (--json lists them)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
