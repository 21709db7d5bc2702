"""Photos that wrong cases are made of: a data set's, and those of other places."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..arrays import U8
from ..bundle.manifest import Manifest
from ..geometry.rigid import compose
from ..sources.listing import list_folder
from ..sources.photo import read_photo
from .dataset import Dataset, map_origin
from .wrong_cases import Need
from .wrong_frames import Shot
from .wrong_images import Rng, fitted

KEPT = 64  # photos in memory


class PhotoAlbum:
    """The photos of a data set, with their poses in the map, and those of other places.

    foreign: folder of photos of other places. SourceError where it holds none.
    """

    def __init__(self, dataset: Dataset, manifest: Manifest, foreign: Path | None = None) -> None:
        self._dataset = dataset
        self._place_from_map = compose(np.eye(3), -map_origin(dataset, manifest))
        self._foreign: list[Path] = []
        if foreign is not None:
            names = list_folder(foreign, deep=True).photos
            self._foreign = [foreign / name for name in names]
        self._kept: OrderedDict[int, Shot] = OrderedDict()
        self.name = dataset.name
        self.size = len(dataset.queries)

    @property
    def lacks(self) -> set[Need]:
        """What cases need and these photos do not give."""
        cameras = [query.camera for query in self._dataset.queries]
        lacks = set() if self._foreign else {Need.ELSEWHERE}
        if any(cameras.count(camera) == 1 for camera in set(cameras)):
            lacks.add(Need.ANOTHER)
        if self.size == 1 or len(set(cameras)) > 1:
            lacks.add(Need.ONE_CAMERA)
        return lacks

    def shot(self, index: int) -> Shot:
        """A photo with its reference pose in the map; numbers go round."""
        index %= self.size
        if index not in self._kept:
            pose = self._dataset.queries[index].cam_from_world @ self._place_from_map
            self._kept[index] = Shot(frame=self._dataset.frame(index), right=(pose,))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[index]

    def another(self, index: int, rng: Rng) -> int:
        """Number of another photo by the same camera; only where there is one."""
        index %= self.size
        queries = self._dataset.queries
        others = [
            number
            for number, query in enumerate(queries)
            if number != index and query.camera == queries[index].camera
        ]
        return int(rng.choice(others))

    def elsewhere(self, rng: Rng, like: U8) -> U8 | None:
        """A photo of another place, as large as `like`; None without such photos."""
        if not self._foreign:
            return None
        return fitted(read_photo(self._foreign[rng.integers(len(self._foreign))]), like)
