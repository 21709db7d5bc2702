"""The work folder of an updated map: the base's, linked, with the new photos beside."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.exchange import link_or_copy
from edge_reloc.bundle.manifest import Manifest
from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic

from ..packing.pack import PACKED_MODEL
from ..packing.packed_model import load_packed
from ..photos.features import FeatureStore, open_store
from ..scene.align import transform_model
from ..scene.model import SceneModel, save_model
from ..scene.similarity import similarity_of

FOLDERS = ("features", "nets", "tokens", "sampled_cells")  # of a work folder, that later steps read
HEADS = "*.pt"  # checkpoints, which `edge-reloc train --continue` begins with
NEXT_MODEL = "packed.next.npz"  # of a bundle that is about to take its place


def extend_work(base: Path, work: Path) -> FeatureStore:
    """A store in `work` with all that the base's has; the base's stays as it is."""
    store = open_store(base)
    if base.resolve() == work.resolve():
        return store
    sources = [path for folder in FOLDERS for path in sorted((store.cache / folder).glob("*"))]
    for source in sources:
        target = work / source.parent.name / source.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source, target)
    for source in sorted(base.glob(HEADS)):
        if not (work / source.name).exists():
            link_or_copy(source, work / source.name)
    if not (work / "store.json").is_file():
        write_atomic(work / "store.json", (base / "store.json").read_bytes())
    return FeatureStore(
        work, store.spec, images=store.images, turns=store.turns, others=store.others
    )


def add_folder(store: FeatureStore, images: Path) -> str:
    """Under which name the photos of another folder are in the map, `NAME/photo`."""
    for name, folder in store.others.items():
        if folder.resolve() == images.resolve():
            return name
    names = (f"update{number}" for number in count(len(store.others) + 1))
    name = next(n for n in names if n not in store.others and not (store.images / n).exists())
    store.others[name] = images.resolve()
    return name


def load_base(work: Path, bundle: MapBundle) -> SceneModel:
    """The model that the map was packed from, also after an update that was killed at its end."""
    waiting = work / NEXT_MODEL
    try:
        return load_packed(work, bundle)
    except MappingError:
        if not waiting.is_file():
            raise
        os.replace(waiting, work / PACKED_MODEL)  # its bundle is in place already
        return load_packed(work, bundle)


def save_next(work: Path, model: SceneModel, manifest: Manifest) -> None:
    """Write the updated model, in the frame that the map was mapped in."""
    back = similarity_of(manifest.alignment).inverse()
    moved = model if manifest.alignment is None else transform_model(model, back)
    save_model(work / NEXT_MODEL, moved)


def take_next(work: Path) -> None:
    """The updated bundle is in place: its model takes the place of the base's."""
    os.replace(work / NEXT_MODEL, work / PACKED_MODEL)


def check_base(bundle: MapBundle) -> None:
    """MappingError for a map that cannot be updated."""
    if bundle.manifest.world.parts:
        parts = ", ".join(bundle.manifest.world.parts)
        raise MappingError(
            f"{bundle.directory}: combined of {parts}, which lie apart in it; update the one that "
            f"the photos show, then combine again"
        )
