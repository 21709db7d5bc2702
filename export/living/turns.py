"""New photos turned to the heading of a map's, where the map's photos were turned at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..photos.features import FeatureStore
from ..scene.headings import turns_from_poses
from ..scene.model import View


def turns_by_pose(mapped: Sequence[View], new: Sequence[View], store: FeatureStore) -> list[View]:
    """The new views, and the store, with the quarter turns that features are taken at."""
    if not store.spec.turns:
        return list(new)
    turns = turns_from_poses([*mapped, *new])
    store.turns.update({view.name: turns[view.name] for view in new})
    return [replace(view, quarter_turns=turns[view.name]) for view in new]
