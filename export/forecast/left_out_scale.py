"""What a forecast's covariance is off by, measured on mapping photos that were left out.

A pose's covariance knows how well the frame's own matches fit; a forecast does not. So it is
measured as that of poses is (`integrity/measure.py`): neighbourhoods of photos are left out,
photos of them localised in what is left, and a factor chosen that puts 95 % of the errors into
the ball of 95 % about what was forecast without those photos.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edge_reloc.bundle.manifest import CovarianceScale
from edge_reloc.geometry.rigid import NORMALISED_95

from ..integrity.leave_out import AS_SOLVED, neighbourhoods
from ..integrity.measure import (
    FEWEST_ERRORS,
    NEIGHBOURHOODS,
    SHARES,
    PoseErrors,
    fit_scale,
    tried_here,
)
from ..photos.features import UnreadablePhotoError
from ..progress import Progress, silent
from ..scene.combine import PhotoStore
from ..scene.model import SceneModel
from .predict import Predictor

log = logging.getLogger(__name__)

BALL_95 = 1.61  # of the root of three summed variances: sqrt(7.81) of one, where all are alike


def calibrate(
    predictor: Predictor,
    bundle: Path,
    model: SceneModel,
    store: PhotoStore,
    progress: Progress = silent,
) -> bool:
    """Give a predictor the scale that left-out photos ask for.

    False, and the scale of the map's poses stays, where too few of them were localised or their
    photos are not there. model: with points in the bundle's order.
    """
    try:
        found = left_out_scale(predictor, bundle, model, store, progress)
    except UnreadablePhotoError as error:
        log.warning("%s; standard deviations are scaled as those of poses", error)
        return False
    if found is None:
        return False
    predictor.scale = found
    return True


def left_out_scale(
    predictor: Predictor, bundle: Path, model: SceneModel, store: PhotoStore, progress: Progress
) -> CovarianceScale | None:
    """Factor and growth with the angle; None for too few errors."""
    left_out = [
        rows
        for share in SHARES
        for rows in neighbourhoods(model.views, model.xyz, NEIGHBOURHOODS, share)
    ]
    view_of = {view.name: view for view in model.views}
    before, predictor.scale = predictor.scale, AS_SOLVED
    squared, angle = [], []
    try:
        with TemporaryDirectory() as folder:
            answers = tried_here(bundle, model, store, left_out, Path(folder))
            for done, (rows, answer) in enumerate(zip(left_out, answers, strict=True)):
                without = np.zeros(len(model.views), bool)
                without[rows] = True
                for each in answer[int(predictor.refines)]:
                    view = view_of[each.view]
                    told = predictor.predict(view.camera, view.cam_from_world, without)
                    if np.isfinite(told.position):
                        squared.append((each.error / (BALL_95 * told.position)) ** 2)
                        angle.append(np.radians(told.angle_deg))
                progress(done + 1, len(left_out))
    finally:
        predictor.scale = before
    if len(squared) < FEWEST_ERRORS:
        return None
    errors = PoseErrors(squared=NORMALISED_95 * np.array(squared), angle=np.array(angle))
    return replace(fit_scale(errors), tail=before.tail)
