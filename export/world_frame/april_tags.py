"""AprilTags in posed photos: squares of a known size, perhaps at known places.

Corners go from the top left one clockwise, as the tag is seen upright. The tag's axes: x right,
y up, z out of it towards whoever looks at it; its origin is its centre.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import MappingError, SourceError
from edge_reloc.geometry.rigid import compose, rotation_from_quat, transform
from edge_reloc.sources.photo import read_photo

from ..photos.positions import (
    PositionsError,
    check_new,
    local_positions,
    read_gps,
    read_number,
    read_positions,
    read_rows,
)
from ..progress import open_bar
from .control_points import KnownPlaces, Mark
from .fit import CORNER
from .marks import Place, exact, places_of_marks
from .posed_photos import PosedPhotos
from .tag_edges import refined_corners

log = logging.getLogger(__name__)

CORNERS = ((-0.5, 0.5, 0.0), (0.5, 0.5, 0.0), (0.5, -0.5, 0.0), (-0.5, -0.5, 0.0))
SIDES = ((0, 1), (1, 2), (2, 3), (3, 0))
ALIKE = 0.2  # share by which the sides of one square may differ, in the map
QUATERNION = ("qw", "qx", "qy", "qz")


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One tag in the map's world: its corners (4,3), map units."""

    number: int
    corners: F64
    error: float  #: relative standard error of its size

    @property
    def side(self) -> float:
        """Mean length."""
        return float(np.mean(self.sides()))

    def sides(self) -> F64:
        """(4,)."""
        return np.array([np.linalg.norm(self.corners[a] - self.corners[b]) for a, b in SIDES])


def tags_in_photos(photos: PosedPhotos, family: str) -> list[Tag]:
    """Tags that two photos or more show. Raises MappingError for none."""
    detector = _detector(family)
    marks: list[Mark] = []
    with open_bar(len(photos.views), "looking for tags", "photo") as bar:
        for view in photos.views:
            bar.update()
            try:
                image = read_photo(photos.path(view.name))
            except SourceError as error:
                log.warning("%s", error)
                continue
            corners, numbers, _ = detector.detectMarkers(image)
            for square, number in zip(corners, [] if numbers is None else numbers, strict=True):
                for index, (x, y) in enumerate(
                    refined_corners(image, square.reshape(4, 2)).tolist()
                ):
                    name = _corner(int(np.ravel(number)[0]), index)
                    marks.append(Mark(name=name, photo=view.name, xy_px=(x, y)))
    seen = list(dict.fromkeys(mark.name.partition(CORNER)[0] for mark in marks))
    if not marks:
        raise MappingError(
            f"no AprilTag of family {family} in {len(photos.views)} posed photos; name the family "
            f"of yours with --tag-family, or take photos that show them larger (--photos DIR)"
        )
    places = places_of_marks(photos.views, _once_a_photo(marks), "AprilTags")
    tags = [_tag(name, places) for name in seen]
    found = [tag for tag in tags if tag is not None]
    if not found:
        raise MappingError(
            f"{len(seen)} AprilTags were seen ({', '.join(seen)}), none of them as one square by "
            f"two posed photos from different places, expected that of one or more; take more "
            f"photos of them (--photos DIR)"
        )
    return found


def _detector(family: str) -> Any:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    number = getattr(cv2.aruco, f"DICT_APRILTAG_{family.upper()}")
    return cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(number), parameters)


def _corner(number: int, index: int) -> str:
    return f"tag {number}{CORNER}{index}"


def _once_a_photo(marks: list[Mark]) -> list[Mark]:
    """Without tags that a photo shows twice: of two with one number neither is known."""
    count: dict[tuple[str, str], int] = {}
    for mark in marks:
        key = mark.name, mark.photo
        count[key] = count.get(key, 0) + 1
    return [mark for mark in marks if count[mark.name, mark.photo] == 1]


def _tag(name: str, places: dict[str, Place]) -> Tag | None:
    """None where a corner is missing, or they are no square: two tags with one number."""
    number = int(name.removeprefix("tag "))
    names = [_corner(number, index) for index in range(4)]
    if not all(corner in places for corner in names):
        return None
    tag = Tag(
        number=number,
        corners=np.array([places[c].xyz for c in names]),
        error=_relative_error([places[c] for c in names]),
    )
    if np.ptp(tag.sides()) > ALIKE * tag.side:
        log.warning("%s: its corners are no square in the map; it is left out", name)
        return None
    return tag


def read_tags(path: Path, size_m: float) -> KnownPlaces:
    """Places of tags: a csv with id,x,y,z or id,lat,lon,alt, the centres.

    With qw,qx,qy,qz, the rotation from the tag's axes to the world's, the corners of each are
    known. Names are those of `places_of_tags`. Raises PositionsError.
    """
    rows = read_rows(path, {"id"})
    columns = set(rows[0][1]) if rows else set()
    geodetic = {"latitude_deg", "longitude_deg"} <= columns
    if not geodetic and not {"x", "y", "z"} <= columns:
        raise PositionsError(
            f"{path}:1: found columns {sorted(columns)}, expected id,x,y,z or id,lat,lon,alt"
        )
    origin = None
    if geodetic:
        centres, origin = local_positions(read_gps(path, "id"))
    else:
        centres = read_positions(path, "id")
    posed = set(QUATERNION) <= columns
    places: dict[str, F64] = {}
    named: set[str] = set()  # 7 and 07 are one tag
    for where, row in rows:
        if not re.fullmatch("[0-9]{1,9}", row["id"].strip()):
            raise PositionsError(f"{where}: id is '{row['id']}', expected the number of a tag")
        name = f"tag {int(row['id'])}"
        centre = centres.get(row["id"])
        if centre is None:  # an empty cell
            continue
        check_new(name, named, where)
        named.add(name)
        if not posed:
            places[name] = centre
            continue
        quat = [read_number(row[key], where, key) or 0.0 for key in QUATERNION]
        if not 0.9 < np.linalg.norm(quat) < 1.1:
            raise PositionsError(f"{where}: {quat} is no unit quaternion qw,qx,qy,qz")
        world_from_tag = compose(rotation_from_quat(quat), centre)
        for index, corner in enumerate(transform(world_from_tag, size_m * np.array(CORNERS))):
            places[_corner(int(row["id"]), index)] = corner
    return KnownPlaces(xyz=places, origin=origin)


def _relative_error(corners: Sequence[Place]) -> float:
    """Of the mean side of a tag."""
    variances = []
    for a, b in SIDES:
        along = corners[a].xyz - corners[b].xyz
        along /= np.linalg.norm(along)
        both = corners[a].covariance + corners[b].covariance
        variances.append(float(along @ both @ along))
    side = np.mean([np.linalg.norm(corners[a].xyz - corners[b].xyz) for a, b in SIDES])
    return float(np.sqrt(np.sum(variances)) / len(SIDES) / side)


def places_of_tags(tags: list[Tag]) -> dict[str, Place]:
    """Centres and corners in the map's world, by the names of `read_tags`."""
    places = {}
    for tag in tags:
        places[f"tag {tag.number}"] = exact(tag.corners.mean(axis=0))
        places |= {_corner(tag.number, i): exact(xyz) for i, xyz in enumerate(tag.corners)}
    return places
