"""Robust pose from matches: OpenCV's USAC, then refinement, then the gate."""

from __future__ import annotations

import cv2
import numpy as np

from ..arrays import F64
from ..bundle.points import PointMap
from ..geometry.camera import Camera
from ..geometry.rigid import compose
from ..settings import Gate
from ..structs import Correspondences, PoseEstimate, Status
from .point_noise import noise_of
from .refine import SPREAD, Refined, image_part, refine_pose, reprojection_error_px

REFERENCE_SIDE_PX = 640
ROUNDS = 3
NARROWING = (2.4, 1.6, 1.0, 1.0)  # inlier thresholds of a second pass, relative
STEPS = 2  # of a round that is not the last: the inliers change after it anyway
LAST_STEPS = 10
WEIGHED_STEPS = 2  # from a pose that is good already


class PoseSolver:
    """USAC (MAGSAC scoring, fixed seed) on undistorted rays, then refinement.

    threshold_px holds for images whose longer side is 640 pixels and grows
    with it. weighted: matches count by their weight in the refinement.
    """

    def __init__(
        self, *, threshold_px: float, gate: Gate, seed: int, weighted: bool = False
    ) -> None:
        self._threshold_px = threshold_px
        self._weighted = weighted
        self._gate = gate
        params = cv2.UsacParams()
        params.randomGeneratorState = seed
        params.confidence = 0.9999
        params.maxIterations = 5000
        # No local optimisation: `refine` does the same on the winner alone. As many
        # frames pass, also with 85% wrong matches, and usual ones in a fifth of the time.
        params.loMethod = cv2.LOCAL_OPTIM_NULL
        params.sampler = cv2.SAMPLING_UNIFORM
        params.score = cv2.SCORE_METHOD_MAGSAC
        if hasattr(cv2, "COV_POLISHER"):  # since OpenCV 4.7; Ubuntu 24.04 has 4.6
            params.final_polisher = cv2.COV_POLISHER
            params.final_polisher_iterations = 3
        params.isParallel = False
        self._params = params

    def threshold_px(self, camera: Camera) -> float:
        """Reprojection error up to which a match is an inlier of this camera."""
        side = max(camera.width, camera.height)
        return self._threshold_px * max(side / REFERENCE_SIDE_PX, 0.5)

    def solve(self, camera: Camera, correspondences: Correspondences) -> PoseEstimate:
        """Status, pose, covariance and inliers; t_ns is left at 0."""
        m = correspondences.n
        if m < self._gate.min_inliers:
            return PoseEstimate(
                t_ns=0,
                status=Status.NO_MATCHES,
                reason=f"{m} matches, {self._gate.min_inliers} are needed: "
                f"the map does not know this view",
                matches=m,
            )
        start = self._ransac(camera, correspondences)
        if start is None:
            return PoseEstimate(
                t_ns=0,
                status=Status.NO_POSE,
                reason=f"{m} matches agree on no camera pose",
                matches=m,
            )
        return self.refine(camera, start, correspondences, (1.0,) * ROUNDS)

    def refine(
        self,
        camera: Camera,
        cam_from_world: F64,
        correspondences: Correspondences,
        narrowing: tuple[float, ...] = NARROWING,
        points: PointMap | None = None,
    ) -> PoseEstimate:
        """Refine a first pose on the matches that agree with it, and gate it.

        narrowing: one round each, inliers within that multiple of the
        threshold. points: those that matches are of; how well they are known counts in
        the last round, which decides.
        """
        m = correspondences.n
        xy, xyz = correspondences.xy_px[:m], correspondences.xyz_world[:m]
        threshold = self.threshold_px(camera)
        trust = correspondences.weight[:m].astype(np.float64) if self._weighted else None
        refined: Refined | None = None
        steps = LAST_STEPS if points is None else WEIGHED_STEPS
        for number, wide in enumerate(narrowing):
            error = reprojection_error_px(camera, cam_from_world, xy, xyz)
            inlier = error < wide * threshold
            if inlier.sum() < 6:
                break
            last = number == len(narrowing) - 1
            noise, scale_px = None, (threshold / 8, threshold / 2)
            if last and points is not None:
                noise = noise_of(points, correspondences.point_id[:m][inlier])
            if noise is None:  # the residuals are known already
                spread = float(np.clip(SPREAD * np.median(error[inlier]), *scale_px))
                scale_px = spread, spread
            better = refine_pose(
                camera,
                cam_from_world,
                xy[inlier],
                xyz[inlier],
                trust=trust[inlier] if trust is not None else None,
                noise=noise,
                scale_px=scale_px,
                iterations=steps if last else STEPS,
            )
            if better is None:
                break
            refined, cam_from_world = better, better.cam_from_world
        if refined is None:
            return PoseEstimate(
                t_ns=0,
                status=Status.NO_POSE,
                reason=f"{m} matches: the pose they suggest falls apart in refinement",
                matches=m,
            )
        index = np.flatnonzero(reprojection_error_px(camera, cam_from_world, xy, xyz) < threshold)
        refusal = self._refuse(camera, xy[index], m, refined)
        return PoseEstimate(
            t_ns=0,
            status=Status.OK if refusal is None else Status.IMPLAUSIBLE,
            reason=refusal,
            cam_from_world=cam_from_world if refusal is None else None,
            covariance=refined.covariance if refusal is None else None,
            inliers=len(index),
            matches=m,
            inlier_index=index.astype(np.int32),
        )

    def _ransac(self, camera: Camera, correspondences: Correspondences) -> F64 | None:
        m = correspondences.n
        focal = 0.5 * (camera.fx + camera.fy)
        rays = camera.rays_from_pixels(correspondences.xy_px[:m]) * focal
        self._params.threshold = self.threshold_px(camera)
        try:
            found, _, rotation, translation, _ = cv2.solvePnPRansac(
                correspondences.xyz_world[:m],
                rays,
                np.diag([focal, focal, 1.0]),
                None,
                params=self._params,
            )
        except cv2.error:  # degenerate samples make OpenCV throw instead of answer
            return None
        if not found or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
            return None
        return compose(cv2.Rodrigues(rotation)[0], translation.ravel())

    def _refuse(self, camera: Camera, xy: F64, matches: int, refined: Refined) -> str | None:
        gate = self._gate
        inliers = len(xy)
        if inliers < gate.min_inliers:
            return f"{inliers} of {matches} matches agree, {gate.min_inliers} are needed"
        if inliers < gate.min_inlier_ratio * matches:
            return (
                f"{inliers} of {matches} matches agree, "
                f"{gate.min_inlier_ratio:.0%} are needed: chance could do this"
            )
        spread = len(np.unique(image_part(camera, xy)))
        if spread < gate.min_spread:
            return (
                f"the {inliers} inliers lie in {spread} of 16 image parts, "
                f"{gate.min_spread} are needed: the pose hangs on one spot"
            )
        std_deg = float(np.degrees(np.sqrt(np.diag(refined.covariance)[:3].max())))
        if not std_deg < gate.max_rotation_std_deg:
            return (
                f"the rotation is uncertain by {std_deg:.1f} deg, "
                f"at most {gate.max_rotation_std_deg:.1f} are believed"
            )
        return None
