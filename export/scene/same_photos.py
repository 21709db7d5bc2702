"""Whether photos are still those that a map was made of."""

from __future__ import annotations

import numpy as np

from edge_reloc.errors import MappingError

from ..progress import open_bar
from .combine import PhotoStore
from .model import SceneModel

SAME_PX = 0.01  # of one keypoint, extracted twice from one photo


def check_photos(model: SceneModel, store: PhotoStore) -> None:
    """MappingError for a photo that is not the one that was mapped.

    What a photo observes is told by the rows of its keypoints, and where it stood by its
    pose: of another photo of that name both would be learnt wrong.
    """
    with open_bar(len(model.views), "photos", "photo") as bar:
        for view in model.views:
            xy = store.get(view.name).xy_px
            same = not len(view.keypoint) or (
                view.keypoint.max() < len(xy)
                and np.abs(xy[view.keypoint] - view.xy_px).max() <= SAME_PX
            )
            if not same:
                raise MappingError(
                    f"{store.photo(view.name)}: its keypoints are not those that the map was made "
                    f"of, the photo has changed since; put it back, or map again"
                )
            bar.update()
