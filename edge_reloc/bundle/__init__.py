"""The map bundle: the only file format that both halves share."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manifest import Manifest, World
    from .reader import MapBundle, open_bundle
    from .writer import BundleWriter, extend_bundle

__all__ = ["BundleWriter", "Manifest", "MapBundle", "World", "extend_bundle", "open_bundle"]

_HOMES = {"Manifest": "manifest", "World": "manifest", "MapBundle": "reader"}
_HOMES |= {"open_bundle": "reader", "BundleWriter": "writer", "extend_bundle": "writer"}


def __getattr__(name: str) -> object:
    """Loaded when asked for: who only reads a manifest needs no numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
