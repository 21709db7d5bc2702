"""What a set of photos must have before a camera file is worth writing."""

from __future__ import annotations

import numpy as np

from edge_reloc.errors import CameraError

from .coverage import Coverage, tilts_deg
from .gather import Gathered
from .intrinsics import MIN_VIEWS, Calibration

LEAST_COVERAGE = 1 / 3  # of the cells
LEAST_TILT_DEG = 5.0  # of the most tilted tenth
LEAST_KNOWN = 0.05  # relative standard deviation of a focal length
LARGEST_ERROR = 0.01  # of the image's width, held out


def check_photos(gathered: Gathered) -> None:
    """CameraError for photos that are too few, or too much alike, to calibrate from."""
    views = len(gathered.views)
    if views >= MIN_VIEWS:
        return
    alike = f", {gathered.repeated} more show it at the same place" if gathered.repeated else ""
    raise CameraError(
        f"calibration: the board was found in {views} photos{alike}, expected at least "
        f"{MIN_VIEWS} different ones (20 are better); take more, filling the image, from "
        f"different tilts"
    )


def check_calibration(calibration: Calibration) -> None:
    """CameraError that says what is missing where the photos do not determine the camera."""
    missing = what_is_missing(calibration)
    if missing:
        raise CameraError(f"calibration: {'; '.join(missing)}")


def what_is_missing(calibration: Calibration) -> list[str]:
    """What the photos lack, gravest first; nothing for a camera that can be used."""
    if calibration.mixture is not None and calibration.mixture.certain:
        return [calibration.mixture.text()]
    camera, fit = calibration.camera, calibration.fit
    if camera.rms_px is not None and camera.rms_px > LARGEST_ERROR * camera.width:
        return [
            f"no lens of ours explains the photos (held-out error {camera.rms_px:.1f} px of "
            f"{camera.width}): is the board's text right, is it flat, is --model right?"
        ]
    missing = []
    covered = Coverage.of(calibration.views, camera.width, camera.height)
    if covered.share < LEAST_COVERAGE:
        seen = int((covered.corners > 0).sum())
        missing.append(
            f"the board was seen in {seen} of {covered.corners.size} parts of the image only: "
            f"bring it to {', '.join(covered.missing())}"
        )
    tilt_deg = float(np.percentile(tilts_deg(fit.cam_from_board), 90))
    if tilt_deg < LEAST_TILT_DEG:
        missing.append(
            f"the board always faced the camera ({tilt_deg:.0f} degrees at most): tilt it 20 to "
            f"40 degrees to each side"
        )
    elif (loose := float((fit.std[:2] / [camera.fx, camera.fy]).max())) > LEAST_KNOWN:
        missing.append(
            f"the focal length is known to {loose:.0%} only: tilt the board 20 to 40 degrees, "
            f"also about the other axis, and bring it nearer"
        )
    return missing
