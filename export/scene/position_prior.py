"""Known positions in the adjustment: they hold what the photos leave weak over long ways."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_reloc.arrays import F64

from .sfm_database import photo_label
from .similarity import robust_similarity

log = logging.getLogger(__name__)

MIN_POSITIONS = 8
AGREEING = 0.8  # of the positions; with fewer the reconstruction is wrong, or they are
LEVERAGE = 20.0  # extent of the positions over their noise, from which on they tell something
LEAST_NOISE_M = 0.02


def adjust_to_positions(
    pycolmap: Any, reconstruction: Any, near: Sequence[F64 | None], held: set[int]
) -> Any:
    """The reconstruction, adjusted with positions (3,) in metres as priors where they help.

    Their noise is what they themselves show against the reconstruction. Unit and frame are the
    positions' afterwards. held: ids of cameras that stay as they are. The reconstruction comes
    back as it was where positions are few, disagree, or are as rough as the place is large.
    """
    images = {image.name: image for image in reconstruction.images.values() if image.has_pose}
    rows = [row for row, xyz in enumerate(near) if xyz is not None and photo_label(row) in images]
    if len(rows) < MIN_POSITIONS:
        return reconstruction
    found = np.array([images[photo_label(row)].projection_center() for row in rows])
    known = np.array([near[row] for row in rows], np.float64)
    fit = robust_similarity(found, known)
    noise_m = max(float(np.median(fit.residual)) / 1.54, LEAST_NOISE_M)  # of one axis, of 3-D
    extent_m = float(np.linalg.norm(known.std(axis=0)))
    if fit.inlier.mean() < AGREEING or extent_m < LEVERAGE * noise_m:
        return reconstruction
    adjusted = pycolmap.Reconstruction(reconstruction)
    similarity = fit.similarity
    adjusted.transform(
        pycolmap.Sim3d(
            similarity.scale, pycolmap.Rotation3d(similarity.rotation), similarity.translation
        )
    )
    priors = []
    for row, position, agrees in zip(rows, known, fit.inlier, strict=True):
        if not agrees:
            continue
        prior = pycolmap.PosePrior()
        prior.corr_data_id = images[photo_label(row)].data_id
        prior.position, prior.position_covariance = position, noise_m**2 * np.eye(3)
        prior.coordinate_system = pycolmap.PosePriorCoordinateSystem.CARTESIAN
        priors.append(prior)
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in adjusted.reg_image_ids():
        config.add_image(image_id)
    for camera_id in held:
        config.set_constant_cam_intrinsics(camera_id)
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    prior_options = pycolmap.PosePriorBundleAdjustmentOptions()
    prior_options.alignment_ransac.random_seed = 0
    adjuster = pycolmap.create_pose_prior_ceres_bundle_adjuster(
        options, prior_options, config, priors, adjusted
    )
    adjuster.solve()
    log.info("adjusted with %d positions, %.2g m uncertain each way", len(priors), noise_m)
    return adjusted
