"""The table of methods, the only list of them, and the settings of all in one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..bundle.manifest import Manifest
from ..errors import ConfigError
from .exhaustive import Exhaustive
from .image_retrieval import ImageRetrieval, ImageRetrievalSettings
from .landmarks import Landmarks, LandmarkSettings
from .method import Method, Network, Variant
from .scene_coordinates import SceneCoordinates
from .visible_structure import VisibleStructure, VisibleStructureSettings

EXHAUSTIVE = Exhaustive()
IMAGE_RETRIEVAL = ImageRetrieval()
VISIBLE_STRUCTURE = VisibleStructure()
LANDMARKS = Landmarks()
SCENE_COORDINATES = SceneCoordinates()

METHODS: dict[str, Method] = {
    method.name: method
    for method in (EXHAUSTIVE, IMAGE_RETRIEVAL, VISIBLE_STRUCTURE, LANDMARKS, SCENE_COORDINATES)
}


@dataclass(frozen=True, kw_only=True)
class Settings(VisibleStructureSettings, LandmarkSettings, ImageRetrievalSettings):
    """How to localise: what every method knows, and what one of them does."""


def find_method(name: str) -> Method:
    """The method of a name; ConfigError lists the known ones."""
    if name not in METHODS:
        raise ConfigError(f"method: found '{name}', expected one of {', '.join(METHODS)}")
    return METHODS[name]


def variants(manifest: Manifest | None = None) -> Iterator[tuple[Method, Variant]]:
    """Every way to run every method, or those that a bundle can run."""
    for method in METHODS.values():
        found = method.variants if manifest is None else method.variants_in(manifest)
        yield from ((method, variant) for variant in found)


def bundle_networks(manifest: Manifest) -> tuple[Network, ...]:
    """Every network that a manifest names, each once, in the order of the frame."""
    found = [
        Network(role="features", file=n.file, size=(n.width, n.height))
        for n in manifest.features.networks
    ]
    if manifest.embedding is not None and manifest.embedding.network is not None:
        found.append(Network(role="embedding", file=manifest.embedding.network))
    for method in METHODS.values():
        found += method.networks(manifest)
    return tuple(dict.fromkeys(found))
