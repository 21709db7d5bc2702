"""New photos in a map's world: localised by its best method, or left out with a reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.arrays import finite_numbers
from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.manifest import manifest_bytes
from edge_reloc.bundle.mapping_cameras import fitting_camera
from edge_reloc.errors import EdgeRelocError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.table import EXHAUSTIVE
from edge_reloc.sources.photo import read_photo
from edge_reloc.structs import Status

from ..identity import digest_of
from ..kept_files import DamagedError, read_object
from ..progress import open_bar
from ..scene.model import View
from ..scene.posed import empty_view
from ..world_frame.posed_photos import settings_at_best

log = logging.getLogger(__name__)

#: share of the image that must agree with the pose, where most of what a photo shows may have
#: changed; the gate of frames asks for more
CHANGED_COVERAGE = 0.3
CACHE, KEPT_EVERY = "registered.json", 8  # photos between two states that a run goes on from


@dataclass(kw_only=True)
class Registered:
    """Photos with poses, without points yet, and why others have none."""

    views: list[View] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def register_photos(
    bundle: MapBundle,
    paths: Mapping[str, Path],
    turns: Mapping[str, int],
    camera: Camera | None,
    work: Path,
) -> Registered:
    """Localise photos with the map's method and its second pass; what it refuses, in all points.

    What chooses points has learnt the place as it was, and the gate takes an image of which little
    agrees for one of another place. So a photo that is refused is matched with every point, and
    less of it must agree: inliers, their spread and `p_right` are asked for as ever.

    paths: files by the name that a photo gets in the map. turns: quarter turns by name, for
    features. camera: of all of them; None: the mapping camera that fits. Interrupt it at will:
    `work` keeps what was found.
    """
    cache = _Cache(work / CACHE)
    found = Registered()
    ways = settings_at_best(bundle), _of_changed_places(bundle)
    localizers: dict[tuple[Camera, int], Localizer] = {}
    map_digest = digest_of(manifest_bytes(bundle.directory))
    with ExitStack() as opened, open_bar(len(paths), "localising", "photo") as bar:
        opened.callback(cache.save)
        for name, path in paths.items():
            bar.update()
            try:
                height, width = read_photo(path).shape[:2]
                own = (camera or fitting_camera(bundle, width, height)[0]).scaled_to(width, height)
                key = digest_of(map_digest, path, own, CHANGED_COVERAGE)
            except EdgeRelocError as error:
                found.left_out[name] = str(error)
                continue
            pose, reason = cache.get(key)
            if pose is None and reason is None:
                for way, settings in enumerate(ways):
                    if (own, way) not in localizers:
                        localizer = Localizer.open(bundle, own, settings)
                        localizers[own, way] = opened.enter_context(localizer)
                    estimate = localizers[own, way].localize(path).estimate
                    reason = f"{estimate.status.value}: {estimate.reason}"
                    if estimate.status is Status.OK:
                        pose, reason = estimate.cam_from_world, estimate.status.value
                        break
                cache.put(key, pose, str(reason))
            if pose is None:
                found.left_out[name] = str(reason)
            else:
                found.views.append(empty_view(name, own, pose, turns.get(name, 0)))
    log.info("%d of %d photos localised in the map", len(found.views), len(paths))
    return found


def _of_changed_places(bundle: MapBundle) -> Settings:
    """All points, and less of the image must agree."""
    asked = bundle.manifest.features.min_coverage
    return Settings(
        method=EXHAUSTIVE.name,
        engine="onnxruntime",
        second_pass=True,
        min_coverage=min(CHANGED_COVERAGE, asked),
    )


class _Cache:
    """Poses and refusals by what they depend on."""

    def __init__(self, path: Path) -> None:
        self._path, self._new = path, 0
        try:
            self._entries: dict[str, dict[str, Any]] = read_object(path)
        except (FileNotFoundError, DamagedError):  # none yet, or damaged: localised again
            self._entries = {}

    def get(self, key: str) -> tuple[np.ndarray | None, str | None]:
        """Pose (4,4) or None, and the reason; twice None where it was not tried."""
        entry = self._entries.get(key)
        if not isinstance(entry, dict) or not isinstance(entry.get("reason"), str):
            return None, None
        return finite_numbers(entry.get("cam_from_world"), (4, 4)), entry["reason"]

    def put(self, key: str, pose: np.ndarray | None, reason: str) -> None:
        """Note a result."""
        values = None if pose is None else pose.tolist()
        self._entries[key] = {"cam_from_world": values, "reason": reason}
        self._new += 1
        if self._new % KEPT_EVERY == 0:
            self.save()

    def save(self) -> None:
        """Write what is known."""
        if self._new:
            write_atomic(self._path, json.dumps(self._entries) + "\n")
