"""The cameras of a set of photos: which photos share one, and what is known of its lens.

A reconstruction can tell the focal length only where its geometry does: over flat ground, seen
from above by parallel cameras, twice the focal length from twice the height fits as well. What
the bundle adjustment's own covariance says of it decides whether the adjustment or what was
known before is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_reloc.errors import CameraError, MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import colmap_from_camera

from ..photos.exif import PhotoFacts, camera_key

log = logging.getLogger(__name__)

Size = tuple[int, int]

GUESS = "a guess"
GUESSED_FOCAL = 1.2  # of the longer side: about 45 degrees, a common lens
GUESS_STD = 0.25  # relative: lenses of 55 to 30 degrees
# Times the standard error that one pixel of independent noise leaves: lenses that the model does
# not describe and keypoints that err together. On places with a calibration the focal length was
# 5 to 24 such errors off, on flat ground 10.
REAL_OVER_FORMAL = 10.0
HARDLY = 0.1  # weight below which the geometry's word is left out


@dataclass(frozen=True, kw_only=True)
class Lens:
    """One camera, and the photos that share it."""

    size: Size
    photos: tuple[int, ...]  #: rows of the names
    focal_px: float  #: before the reconstruction
    relative_std: float  #: of that, 0 where it is given
    source: str  #: who says so: "EXIF", "a guess", "the camera file"
    given: Camera | None = None  #: known, and kept

    @property
    def name(self) -> str:
        """For people: the size, and the focal length that tells it from its like."""
        return f"camera {self.size[0]}x{self.size[1]} ({self.focal_px:.0f} px by {self.source})"

    @property
    def told(self) -> bool:
        """Somebody knows it, well or badly."""
        return self.source != GUESS

    def colmap(self) -> tuple[str, list[float]]:
        """Model name and parameters to begin with."""
        width, height = self.size
        if self.given is not None:
            return colmap_from_camera(self.given)
        return "SIMPLE_RADIAL", [self.focal_px, width / 2, height / 2, 0.0]


def find_lenses(
    names: Sequence[str],
    sizes: Sequence[Size],
    facts: Mapping[str, PhotoFacts],
    camera: Camera | None,
) -> list[Lens]:
    """The lenses of photos of some sizes (w, h): one for each size, device and zoom.

    A photo without EXIF joins the only lens of its size, if there is only one. camera: known
    intrinsics of all photos. MappingError where its aspect is not theirs.
    """
    if camera is not None:
        return [_given(size, rows, camera) for size, rows in _by(sizes).items()]
    keys = [_key(facts.get(name), size) for name, size in zip(names, sizes, strict=True)]
    told = {size: {k for k in keys if k[0] == size and k[1]} for size in sizes}
    keys = [
        next(iter(told[key[0]])) if not key[1] and len(told[key[0]]) == 1 else key for key in keys
    ]
    return [
        _lens(size, rows, [facts[names[r]] for r in rows if names[r] in facts])
        for (size, _), rows in _by(keys).items()
    ]


def _by(keys: Sequence[Any]) -> dict[Any, tuple[int, ...]]:
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return {key: tuple(found) for key, found in rows.items()}


def _key(fact: PhotoFacts | None, size: Size) -> tuple[Size, tuple[Any, ...]]:
    """The photo's own size, and what tells its device and zoom, () where nothing does."""
    if fact is None:
        return size, ()
    key = camera_key(fact)[2:]  # without the header's size
    return size, key if any(isinstance(part, (str, float)) and part != 1.0 for part in key) else ()


def _given(size: Size, rows: tuple[int, ...], camera: Camera) -> Lens:
    try:
        scaled = camera.scaled_to(*size)
    except CameraError as error:
        raise MappingError(f"--camera: {error}") from error
    return Lens(
        size=size,
        photos=rows,
        focal_px=scaled.fx,
        relative_std=0.0,
        source="the camera file",
        given=scaled,
    )


def _lens(size: Size, rows: tuple[int, ...], facts: Sequence[PhotoFacts]) -> Lens:
    told = [
        (fact.focal_sigma, fact.focal_px, fact.focal_source)
        for fact in facts
        if fact.focal_px is not None and fact.focal_sigma is not None and fact.focal_source
    ]
    if not told:
        return Lens(
            size=size,
            photos=rows,
            focal_px=GUESSED_FOCAL * max(size),
            relative_std=GUESS_STD,
            source=GUESS,
        )
    # The best source that any photo has; photos of one lens agree in what they say.
    sigma, _, source = min(told)
    alike = [focal_px for _, focal_px, said in told if said == source]
    return Lens(
        size=size,
        photos=rows,
        focal_px=float(np.median(alike)),
        relative_std=sigma,
        source=source,
    )


def settle(lens: Lens, found: Sequence[float], error: float) -> tuple[list[float], str] | None:
    """Parameters to hold and what to say of them; None where the geometry knows better.

    found: SIMPLE_RADIAL parameters of a free adjustment. error: relative, of its focal length.
    Where both know something the focal length is their weighted mean, and so is the distortion,
    of which nothing is known before but that it is small.
    """
    if lens.given is not None or error <= lens.relative_std:
        return None
    share = 1.0 / (1.0 + (error / lens.relative_std) ** 2)  # of the geometry's word
    if share < HARDLY:
        share = 0.0
    focal_px = lens.focal_px * (found[0] / lens.focal_px) ** share
    certain = min(error, lens.relative_std)
    before = f"{lens.focal_px:.0f} px by {lens.source}"
    known = f" (within {lens.relative_std:.0%})" if lens.told else " (which may be far off)"
    told = "nothing" if error > 1 else f"it only within {error:.0%}"
    note = (
        f"focal length held at {focal_px:.0f} px, from {before}{known}: the photos tell {told} "
        f"(flat ground or parallel views); heights above what is seen are uncertain by "
        f"{certain:.0%}; for better ones give --camera FILE, or add photos at an angle"
    )
    return [focal_px, *found[1:3], share * found[3]], note


def focal_errors(pycolmap: Any, reconstruction: Any) -> dict[int, float]:
    """By camera id, the relative standard error that the geometry leaves in the focal length.

    Of a bundle adjustment of everything with focal length and distortion free, at one pixel
    of noise, times REAL_OVER_FORMAL; infinite where the adjustment cannot tell.
    """
    free = pycolmap.Reconstruction(reconstruction)
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.max_num_iterations = 10
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in free.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, free)
    adjuster.solve()
    covariance = pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), free, adjuster)
    errors = {}
    for camera_id, camera in free.cameras.items():
        found = None if covariance is None else covariance.get_other_params_cov(camera.params)
        variance = -1.0 if found is None else float(found[0, 0])
        relative = np.sqrt(variance) / camera.params[0] if variance > 0 else np.inf
        errors[camera_id] = REAL_OVER_FORMAL * float(relative)
    return errors
