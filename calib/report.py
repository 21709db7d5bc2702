"""What a calibration is worth, as text and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from .coverage import Coverage, tilts_deg
from .fit import PARAMETERS
from .gather import Gathered
from .intrinsics import Calibration

FEW_VIEWS = 8
LOW_COVERAGE = 0.75
LOW_REACH = 0.75  # of the half diagonal: beyond it the distortion is a guess
LOW_TILT_DEG = 15.0  # of the most tilted tenth: below it focal length and distance mix
LOOSE_FOCAL = 0.005  # relative standard deviation
LARGE_ERROR = 0.0015  # of the image width: 1 px at 640


class Report:
    """Everything a person should know before trusting the camera file."""

    def __init__(self, gathered: Gathered, calibration: Calibration) -> None:
        self._gathered, self._calibration = gathered, calibration
        self._coverage = Coverage.of(calibration.views, gathered.width, gathered.height)
        self._tilts_deg = tilts_deg(calibration.fit.cam_from_board)
        self.rejected = {**gathered.rejected, **calibration.outliers}
        self.warnings = self._warnings()

    def text(self) -> str:
        """Lines for the terminal."""
        calibration, camera = self._calibration, self._calibration.camera
        fit, errors = calibration.fit, calibration.held_out_px
        worst = calibration.views[int(np.argmax(errors))].name
        lines = [
            f"board       {self._gathered.board.text}",
            f"photos      {self._gathered.photos} of {camera.width}x{camera.height}, "
            f"{len(calibration.views)} used, {len(self.rejected)} rejected",
        ]
        lines += [f"  rejected  {name}: {reason}" for name, reason in self.rejected.items()]
        tried = ", ".join(f"{name} {px:.3f}" for name, px in calibration.tried_px.items())
        lines.append(f"lens        {fit.lens} (held-out error of the median photo, px: {tried})")
        for name, value, std in self._parameters():
            lines.append(f"  {name:<3} {value:12.5f} ± {std:.5f}")
        lines += [
            f"error       training {fit.rms_px:.3f} px, held out {camera.rms_px:.3f} px "
            f"(photos: median {np.median(errors):.3f}, max {errors.max():.3f} in {worst})",
            f"coverage    {self._coverage.share:.0%} of the cells, reaching "
            f"{self._coverage.reach:.0%} of the way to the image corners",
        ]
        lines += [f"            {row}" for row in self._coverage.rows()]
        lines.append(
            f"tilt        {self._tilts_deg.min():.0f} to {self._tilts_deg.max():.0f} degrees"
        )
        lines += [f"warning     {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        calibration = self._calibration
        views = zip(calibration.views, calibration.held_out_px, strict=True)
        return {
            "camera": calibration.camera.to_dict(),
            "board": self._gathered.board.text,
            "lens": calibration.fit.lens,
            "std": {name: std for name, _, std in self._parameters()},
            "photos": self._gathered.photos,
            "held_out_px": {view.name: float(error) for view, error in views},
            "rejected": self.rejected,
            "tried_px": calibration.tried_px,
            "training_rms_px": calibration.fit.rms_px,
            "held_out_rms_px": calibration.camera.rms_px,
            "coverage": self._coverage.share,
            "reach": self._coverage.reach,
            "tilt_max_deg": float(self._tilts_deg.max()),
            "warnings": self.warnings,
        }

    def _parameters(self) -> list[tuple[str, float, float]]:
        fit = self._calibration.fit
        names = PARAMETERS[fit.camera.model]
        values = fit.camera.parameters.tolist()
        return list(zip(names, values, fit.std.tolist(), strict=False))  # fixed ones have no std

    def _warnings(self) -> list[str]:
        calibration, camera = self._calibration, self._calibration.camera
        warnings = [] if calibration.mixture is None else [calibration.mixture.text()]
        if len(calibration.views) < FEW_VIEWS:
            warnings.append(
                f"only {len(calibration.views)} views: take at least {FEW_VIEWS}, better 20"
            )
        if self._coverage.share < LOW_COVERAGE:
            where = ", ".join(self._coverage.missing())
            warnings.append(f"parts of the image never saw the board: bring it to {where}")
        if self._coverage.reach < LOW_REACH:
            warnings.append(
                f"no corners in the outer {1 - self._coverage.reach:.0%} of the image: bring the "
                f"board to the edges, or distortion there is a guess"
            )
        if np.percentile(self._tilts_deg, 90) < LOW_TILT_DEG:
            warnings.append(
                "the board always faced the camera: tilt it 20 to 40 degrees, or focal length "
                "and distance cannot be told apart"
            )
        if calibration.fit.std[0] > LOOSE_FOCAL * camera.fx:
            warnings.append(
                f"the focal length is only known to {calibration.fit.std[0] / camera.fx:.1%}"
            )
        if camera.rms_px is not None and camera.rms_px > LARGE_ERROR * camera.width:
            warnings.append(
                f"held-out error of {camera.rms_px:.2f} px is large: is the board flat, are the "
                f"photos sharp, is --model right for this lens?"
            )
        return warnings
