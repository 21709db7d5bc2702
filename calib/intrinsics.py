"""Which lens, which photos, and how well they predict a photo left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera

from .circles import as_centres
from .fit import Fit, first_guess, fit_camera, view_errors_px
from .mixture import Mixture, two_cameras
from .residuals import View

Array = NDArray[np.float64]

AUTO = ("pinhole", "opencv", "fisheye")  # simplest first
MIN_VIEWS = 5
FOLDS = 5
SIMPLER_WITHIN = 1.05  # a simpler lens is kept when its error is at most this much larger
CIRCLE_ROUNDS = 2
OUTLIER_MADS = 6.0  # above the median, in robust standard deviations
OUTLIER_FLOOR_PX = 0.5  # a photo below this error is never an outlier
OUTLIER_SHARE = 0.34  # at most this share of the photos is set aside


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted camera and the evidence for it."""

    fit: Fit
    #: its rms_px is the held-out error over all corners of the used photos
    camera: Camera
    #: the V photos that were used
    views: list[View]
    #: (V,) error of each under a camera fitted without it
    held_out_px: Array
    #: photos set aside: name -> reason
    outliers: dict[str, str]
    #: median held-out error of every lens that was compared
    tried_px: dict[str, float]
    #: photos of another camera among them
    mixture: Mixture | None = None


def calibrate(views: Sequence[View], width: int, height: int, lens: str = "auto") -> Calibration:
    """Fit `lens` (a name of LENSES, or "auto") to board views.

    Photos whose board is predicted much worse than the others' by a camera
    fitted without them are set aside. Raises CameraError for too few views or
    a lens that the views do not determine.
    """
    if len(views) < MIN_VIEWS:
        raise CameraError(
            f"calibration: the board was found in {len(views)} photos, expected at least "
            f"{MIN_VIEWS} (20 are better); take more, filling the image, from different tilts"
        )
    fits: dict[str, tuple[Fit, list[View]]] = {}
    errors: dict[str, Array] = {}
    problem = ""
    for name in AUTO if lens == "auto" else (lens,):
        try:
            fits[name] = fit_lens(name, views, width, height)
            errors[name] = held_out_errors_px(*fits[name])
        except CameraError as error:
            problem = str(error)
    if not fits:
        raise CameraError(problem)
    tried_px = {name: float(np.median(error)) for name, error in errors.items()}
    chosen = next(n for n in fits if tried_px[n] <= SIMPLER_WITHIN * min(tried_px.values()))
    first, corrected = fits[chosen]
    mixture = two_cameras(corrected, first)
    used, held_out_px, fit, outliers = _without_outliers(corrected, first, errors[chosen])
    corners = np.array([len(view.xy_px) for view in used])
    rms_px = float(np.sqrt((held_out_px**2 * corners).sum() / corners.sum()))
    return Calibration(
        fit=fit,
        camera=replace(fit.camera, rms_px=rms_px),
        views=used,
        held_out_px=held_out_px,
        outliers=outliers,
        tried_px=tried_px,
        mixture=mixture,
    )


def held_out_errors_px(fit: Fit, views: Sequence[View]) -> Array:
    """(V,) error of each photo under a camera fitted without it.

    The photo gives only its own board pose. Photos are left out in `FOLDS`
    interleaved groups; each fit starts from the one over all photos.
    """
    errors = np.zeros(len(views))
    for fold in range(min(FOLDS, len(views))):
        rest = [view for i, view in enumerate(views) if i % FOLDS != fold]
        camera = fit_camera(fit.lens, rest, fit.camera).camera
        errors[fold::FOLDS] = view_errors_px(camera, views[fold::FOLDS])
    return errors


def fit_lens(lens: str, views: Sequence[View], width: int, height: int) -> tuple[Fit, list[View]]:
    """A fit, and the views that it is of: of circles, corrected with it."""
    # The rational lens has a long valley: it starts from its five-parameter sibling.
    start = first_guess(lens, views, width, height)
    if lens == "rational":
        start = fit_camera("opencv", views, start).camera
    fit = fit_camera(lens, views, start)
    corrected = list(views)
    for _ in range(CIRCLE_ROUNDS if any(view.radius_m for view in views) else 0):
        corrected = as_centres(views, fit)
        fit = fit_camera(lens, corrected, fit.camera)
    return fit, corrected


def _without_outliers(
    views: Sequence[View], fit: Fit, errors: Array
) -> tuple[list[View], Array, Fit, dict[str, str]]:
    """Set aside the worst photo, fit again, until none stands out."""
    used = list(views)
    outliers: dict[str, str] = {}
    allowed = min(int(OUTLIER_SHARE * len(views)), len(views) - MIN_VIEWS)
    while len(outliers) < allowed:
        median = float(np.median(errors))
        spread = 1.4826 * float(np.median(np.abs(errors - median)))
        limit = max(median + OUTLIER_MADS * spread, 2 * median, OUTLIER_FLOOR_PX)
        worst = int(np.argmax(errors))
        if errors[worst] <= limit:
            break
        outliers[used[worst].name] = (
            f"held-out error {errors[worst]:.2f} px against a median of {median:.2f} px"
        )
        del used[worst]
        fit = fit_camera(fit.lens, used, fit.camera)
        errors = held_out_errors_px(fit, used)
    return used, errors, fit, outliers
