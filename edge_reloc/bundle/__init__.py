"""The map bundle: the only file format that both halves share."""

from .manifest import Manifest, World
from .reader import MapBundle, open_bundle
from .writer import BundleWriter, extend_bundle

__all__ = [
    "BundleWriter",
    "Manifest",
    "MapBundle",
    "World",
    "extend_bundle",
    "open_bundle",
]
