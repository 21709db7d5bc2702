"""The database of a structure from motion: photos, lenses, matches, and which pairs agree.

Photos go by their number in it, so that no name can be taken apart or mistaken.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.reference.colmap import colmap_pixels

from ..photos.features import FeatureStore
from ..progress import open_bar
from .lenses import Lens
from .matching import Pair, PairMatches

log = logging.getLogger(__name__)

MIN_MATCHES = 15  # of a pair, before and after verification
#: of a pair's matches fit some geometry by chance: of points strewn at random 20 of 145 and
#: 31 of 500 at most, of made photos of fields that show nothing in common up to 33 of 184
CHANCE = 0.1
#: of five matches each, that find a geometry of 30 % of the matches in 999 of 1,000 cases;
#: ten thousand take 2.4 times as long for pairs that chance explains
MOST_TRIALS = 3000
#: pairs; an interruption loses at most these, a second or two. COLMAP reads all photos of the
#: database at every call: with 16 pairs a call, 500 photos would be read 560 times
VERIFIED_AT_ONCE = 64
SEED = 0


def more_than_chance(matches: int) -> int:
    """How many of a pair's matches must fit one geometry to say that they show one place."""
    return MIN_MATCHES + math.ceil(CHANCE * matches)


def photo_label(row: int) -> str:
    """What the database calls the photo of a row of names."""
    return f"{row:06d}"


@dataclass(frozen=True, kw_only=True)
class VerifiedPair:
    """Two photos whose matches fit one geometry that is not degenerate."""

    pair: Pair
    rows: np.ndarray  #: (K,2) keypoint rows of the matches that fit


def write_database(
    pycolmap: Any,
    path: Path,
    store: FeatureStore,
    names: Sequence[str],
    lenses: Sequence[Lens],
    matches: Sequence[PairMatches],
) -> None:
    """Features, lenses and matches; appears whole when all is written."""
    temporary = path.with_suffix(".part")
    temporary.unlink(missing_ok=True)
    camera_of: dict[int, int] = {}
    rig_of: dict[int, int] = {}
    with pycolmap.Database.open(temporary) as database:
        for number, lens in enumerate(lenses):
            camera_id, rig_id = _write_lens(pycolmap, database, lens)
            camera_of.update(dict.fromkeys(lens.photos, camera_id))
            rig_of.update(dict.fromkeys(lens.photos, rig_id))
            assert camera_id == number + 1, "camera ids count from one, in the order of lenses"
        ids = []
        for row, name in enumerate(names):
            image = pycolmap.Image(name=photo_label(row), camera_id=camera_of[row])
            image.image_id = database.write_image(image)
            frame = pycolmap.Frame()
            frame.rig_id = rig_of[row]
            frame.add_data_id(image.data_id)
            database.write_frame(frame)
            database.write_keypoints(image.image_id, colmap_pixels(store.get(name).xy_px))
            ids.append(image.image_id)
        for match in matches:
            i, j = match.pair
            database.write_matches(ids[i], ids[j], match.rows.astype(np.uint32))
    os.replace(temporary, path)


def _write_lens(pycolmap: Any, database: Any, lens: Lens) -> tuple[int, int]:
    """Camera and rig id."""
    model, parameters = lens.colmap()
    width, height = lens.size
    camera = pycolmap.Camera(model=model, width=width, height=height, params=parameters)
    camera.has_prior_focal_length = lens.told
    camera.camera_id = database.write_camera(camera)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, camera.camera_id))
    return int(camera.camera_id), int(database.write_rig(rig))


def hold(pycolmap: Any, path: Path, parameters: Mapping[int, Sequence[float]]) -> None:
    """Give cameras, by id, parameters that count as known and are not estimated anew."""
    with pycolmap.Database.open(path) as database:
        for camera in database.read_all_cameras():
            if camera.camera_id in parameters:
                camera.params = list(parameters[camera.camera_id])
                camera.has_prior_focal_length = True
                database.update_camera(camera)


def verify(
    pycolmap: Any, path: Path, matches: Sequence[PairMatches], *, progress: bool = True
) -> list[VerifiedPair]:
    """The pairs that agree on a geometry; pairs verified by an earlier run are not again.

    A pair that fits no better than by chance keeps no matches: no photo is placed by it.
    """
    with pycolmap.Database.open(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        image_ids = [ids[photo_label(row)] for row in range(len(ids))]
        missing = []
        for match in matches:
            i, j = (image_ids[row] for row in match.pair)
            if database.exists_two_view_geometry(i, j):
                continue
            missing.append(match.pair)
            # pycolmap takes matches out while it verifies them: a kill left none.
            if not database.exists_matches(i, j):
                database.write_matches(i, j, match.rows.astype(np.uint32))
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = MIN_MATCHES
    options.ransac.random_seed = SEED
    options.ransac.max_num_trials = MOST_TRIALS
    listing = path.with_name("pairs.txt")
    with open_bar(len(matches), "verifying", "pair", shown=progress) as bar:
        bar.update(len(matches) - len(missing))
        for start in range(0, len(missing), VERIFIED_AT_ONCE):
            chunk = missing[start : start + VERIFIED_AT_ONCE]
            lines = [f"{photo_label(i)} {photo_label(j)}\n" for i, j in chunk]
            listing.write_text("".join(lines))
            pycolmap.verify_matches(path, listing, options)
            bar.update(len(chunk))
    return _verified(pycolmap, path, matches, image_ids)


def _verified(
    pycolmap: Any, path: Path, matches: Sequence[PairMatches], image_ids: Sequence[int]
) -> list[VerifiedPair]:
    """Without pairs that chance, no parallax or a watermark explains; those of chance lose
    their matches in the database, whichever run verified them.
    """
    kinds = pycolmap.TwoViewGeometryConfiguration
    refused = {int(k) for k in (kinds.UNDEFINED, kinds.DEGENERATE, kinds.WATERMARK)}
    found = []
    with pycolmap.Database.open(path) as database:
        for match in matches:
            i, j = match.pair
            geometry = database.read_two_view_geometry(image_ids[i], image_ids[j])
            rows = np.asarray(geometry.inlier_matches).reshape(-1, 2)
            if len(rows) < more_than_chance(len(match.rows)):
                geometry.inlier_matches = np.zeros((0, 2), np.uint32)
                database.update_two_view_geometry(image_ids[i], image_ids[j], geometry)
            elif int(geometry.config) not in refused:
                found.append(VerifiedPair(pair=match.pair, rows=rows.astype(np.int32)))
    return found
