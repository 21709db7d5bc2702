"""A scene to score on: query photos with reference poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arrays import Array
from ..bundle.manifest import Manifest
from ..errors import SourceError
from ..geometry.camera import Camera
from ..geometry.rigid import camera_centre
from ..reference.colmap import read_model
from ..sources.listing import names_in_list
from ..sources.photo import load_photo
from ..structs import Frame

FRAME_NS = 33_333_333


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query photo."""

    name: str
    path: Path
    #: Of the reference model, perhaps at another size than the photo.
    camera: Camera
    #: Reference pose (4,4).
    cam_from_world: Array


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Queries of one scene, in order."""

    name: str
    queries: tuple[Query, ...]

    def frames(self, *, grey: bool = True) -> Iterator[tuple[Query, Frame]]:
        """Queries with their images, (H,W) grey or (H,W,3) BGR, at a nominal 30 Hz."""
        for index, query in enumerate(self.queries):
            yield query, self.frame(index, grey=grey)

    def frame(self, index: int, *, grey: bool = True) -> Frame:
        """One of `frames`."""
        query = self.queries[index]
        photo = load_photo(query.path, grey)
        height, width = photo.image.shape[:2]
        return Frame(
            image=photo.image,
            t_ns=index * FRAME_NS,
            camera=query.camera.scaled_to(width, height),
            index=index,
            name=query.name,
            upright_turns=photo.upright_turns,
        )

    def size(self) -> float:
        """Median distance of the cameras from the point they look at, map units.

        That point is the one nearest to all optical axes, so it needs no map.
        """
        centre = np.stack([camera_centre(q.cam_from_world) for q in self.queries])
        axis = np.stack([q.cam_from_world[2, :3] for q in self.queries])
        across = np.eye(3) - axis[:, :, None] * axis[:, None, :]
        target = np.linalg.lstsq(
            across.sum(axis=0), (across @ centre[:, :, None]).sum(axis=0)[:, 0], rcond=None
        )[0]
        return float(np.median(np.linalg.norm(centre - target, axis=1)))


def read_dataset(
    folder: str | Path, *, queries: str | Path | None = None, every: int = 1
) -> Dataset:
    """Read images/, queries.txt and reference/ (COLMAP model) of a folder.

    queries: another list of names; every: take each n-th query only.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; expected images/, queries.txt, reference/")
    model = read_model(folder / "reference")
    by_name = {image.name: image for image in model.images}
    listing = Path(queries) if queries else folder / "queries.txt"
    if listing.is_file():
        names = names_in_list(listing, folder / "images")
    elif queries:
        raise SourceError(f"{listing}: no such list of queries")
    else:
        names = sorted(by_name)
    missing = [name for name in names if name not in by_name]
    if missing:
        raise SourceError(
            f"{folder / 'reference'}: {len(missing)} of {len(names)} queries have no reference "
            f"pose, the first is '{missing[0]}'"
        )
    return Dataset(
        name=folder.name,
        queries=tuple(
            Query(
                name=name,
                path=folder / "images" / name,
                camera=model.cameras[by_name[name].camera_id],
                cam_from_world=by_name[name].cam_from_world,
            )
            for name in names[::every]
        ),
    )


def map_origin(dataset: Dataset, manifest: Manifest) -> Array:
    """Where the origin of a data set's world lies in the map's (3,), map units.

    Combined maps set their places side by side.
    """
    return np.asarray((manifest.world.parts or {}).get(dataset.name, np.zeros(3)))
