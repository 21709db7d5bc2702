"""Places of the world from the pixels that show them in posed photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import MappingError

from ..scene.model import View
from ..scene.tracks import Tracks
from ..scene.triangulate import Triangulation, TriangulationOptions, triangulate
from ..scene.view_geometry import ViewGeometry
from .control_points import Mark

log = logging.getLogger(__name__)

FEWEST_PHOTOS = 2
# Of marks set by hand, at 1024 pixels; a photo of 4000 pixels may be off by four times that.
LARGEST_ERROR_PX = 6.0
LEAST_ANGLE_DEG = 1.0
MARK_PX = 1.0  # standard deviation of a mark, at 1024 pixels


class Place(NamedTuple):
    """Where something lies in the map's world."""

    xyz: F64  #: (3,)
    covariance: F64  #: (3,3)


def exact(xyz: F64) -> Place:
    """A place that is known without marks."""
    return Place(xyz, np.zeros((3, 3)))


def places_of_marks(views: Sequence[View], marks: Sequence[Mark], source: str) -> dict[str, Place]:
    """Where the places lie that two photos or more show; the others are logged.

    Raises MappingError for a photo that there is none of, or a mark outside of it.
    """
    row_of = {view.name: row for row, view in enumerate(views)}
    known = [mark for mark in marks if mark.photo in row_of]
    if marks and not known:
        raise MappingError(
            f"{source}: none of its photos is posed; it names '{marks[0].photo}', the map knows "
            f"photos like '{views[0].name}'"
        )
    xy_px: list[list[tuple[float, float]]] = [[] for _ in views]
    names = list(dict.fromkeys(mark.name for mark in known))
    number = {name: index for index, name in enumerate(names)}
    observed = []
    for mark in known:
        row = row_of[mark.photo]
        camera = views[row].camera
        if not (0 <= mark.xy_px[0] < camera.width and 0 <= mark.xy_px[1] < camera.height):
            raise MappingError(
                f"{source}: '{mark.name}' is marked at {mark.xy_px} of {mark.photo}, which has "
                f"{camera.width}x{camera.height} pixels"
            )
        observed.append((row, len(xy_px[row]), number[mark.name]))
        xy_px[row].append(mark.xy_px)
    view, keypoint, track = np.array(observed, np.int32).reshape(-1, 3).T
    options = TriangulationOptions(
        reprojection_px=LARGEST_ERROR_PX, min_angle_deg=LEAST_ANGLE_DEG, min_length=FEWEST_PHOTOS
    )
    geometry = ViewGeometry(views)
    pixels = [np.array(xy, np.float32).reshape(-1, 2) for xy in xy_px]
    found: dict[str, Place] = {}
    for index, name in enumerate(names):  # few, and each is asked whether it was found
        rows = track == index
        one = Tracks(view[rows], keypoint[rows], track[rows])
        met = triangulate(one, geometry, pixels, options)
        if len(met.xyz):
            found[name] = Place(met.xyz[0], _covariance(met, geometry))
        else:
            log.warning("%s: %s", source, _why_not(name, int(rows.sum())))
    unknown = sorted({mark.photo for mark in marks if mark.photo not in row_of})
    if unknown:
        log.warning(
            "%s: %d photos have no pose, their marks are left out; first '%s'",
            source,
            len(unknown),
            unknown[0],
        )
    return found


def _covariance(met: Triangulation, geometry: ViewGeometry) -> F64:
    """(3,3) of the one place of a triangulation, each mark off by MARK_PX."""
    view = met.tracks.view
    jacobian = geometry.jacobian(view, np.repeat(met.xyz, len(view), axis=0))
    jacobian /= MARK_PX * geometry.tolerance[view, None, None]
    return np.asarray(np.linalg.inv(np.einsum("oij,oik->jk", jacobian, jacobian)))


def _why_not(name: str, photos: int) -> str:
    if photos < FEWEST_PHOTOS:
        return f"'{name}' is marked in {photos} posed photo, expected {FEWEST_PHOTOS} or more"
    return (
        f"'{name}': the rays of its {photos} marks meet at no place within {LARGEST_ERROR_PX:g} px "
        f"(at 1024 pixels) and at {LEAST_ANGLE_DEG:g} degree or more"
    )
