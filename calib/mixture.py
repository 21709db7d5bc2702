"""Photos of two cameras, or of one that was zoomed, told apart.

One camera that fits all photos of two fits neither well. The photos are divided by the focal
length that suits each best, then each goes to the one of two fitted cameras that has its corners
nearer, until none changes sides (as k-means does with points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import CameraError

from .fit import GUESS_STEPS, Fit, fit_camera, view_errors_px
from .residuals import View

Array = NDArray[np.float64]

FACTORS = np.geomspace(0.5, 2.0, 13)  # of the focal length
LEAST_VIEWS = 4  # of each camera
ROUNDS = 10
# One camera's photos divided like this: a share of 0.93 or more, and 5.6 sigmas at most, over
# sets of four real cameras and twelve made ones; focal lengths 5 % apart: 0.83 to 0.88, 8 to 20.
OWN_SHARE = 0.9  # of the error with one camera for all, that two leave
CERTAIN_SHARE = 0.7
FOREIGN = 1.25  # times its own camera's error that a photo has with the other one, median
APART_SIGMAS = 6.5  # in focal length or principal point
POSE_STEPS = 6


@dataclass(frozen=True)
class Mixture:
    """Photos of two cameras."""

    first: list[str]
    second: list[str]
    #: focal lengths of either, pixels
    fx: tuple[float, float]
    #: whether it is beyond doubt
    certain: bool

    def text(self) -> str:
        """In a line, for a person."""
        fewer = min(self.first, self.second, key=len)
        named = ", ".join(fewer[:4]) + (" ..." if len(fewer) > 4 else "")
        return (
            f"two cameras, or one that was zoomed or focused anew, took these photos: "
            f"{len(self.first)} fit fx {self.fx[0]:.1f} px, {len(self.second)} fit "
            f"{self.fx[1]:.1f} px; calibrate each alone (the fewer are {named})"
        )


def two_cameras(views: Sequence[View], fit: Fit) -> Mixture | None:
    """Which photos either camera took; None where one camera took all of them."""
    if len(views) < 2 * LEAST_VIEWS:
        return None
    in_first = _by_focal_length(views, fit)
    pair: tuple[Fit, Fit] | None = None
    errors = np.zeros((2, len(views)))
    for _ in range(ROUNDS):
        if not LEAST_VIEWS <= in_first.sum() <= len(views) - LEAST_VIEWS:
            return None
        try:
            pair = _fits(views, in_first, fit)
        except CameraError:
            return None
        errors = np.array([view_errors_px(one.camera, views, POSE_STEPS) for one in pair])
        moved = errors[0] < errors[1]
        if np.array_equal(moved, in_first):
            break
        in_first = moved
    if pair is None:
        return None
    own = np.where(in_first, errors[0], errors[1])
    foreign = np.where(in_first, errors[1], errors[0])
    share = _rms(own) / _rms(view_errors_px(fit.camera, views))
    if share > OWN_SHARE or not _differ(pair, foreign / own, in_first):
        return None
    names = np.array([view.name for view in views])
    return Mixture(
        first=names[in_first].tolist(),
        second=names[~in_first].tolist(),
        fx=(pair[0].camera.fx, pair[1].camera.fx),
        certain=share < CERTAIN_SHARE,
    )


def _by_focal_length(views: Sequence[View], fit: Fit) -> NDArray[np.bool_]:
    """(V,) whether a photo suits a focal length below the widest gap between two of them."""
    errors = []
    for factor in FACTORS:
        camera = replace(fit.camera, fx=fit.camera.fx * factor, fy=fit.camera.fy * factor)
        errors.append(view_errors_px(camera, views, GUESS_STEPS))
    best = np.argmin(errors, axis=0)
    ordered = np.sort(best)
    inner = slice(LEAST_VIEWS - 1, len(views) - LEAST_VIEWS)
    gaps = np.diff(ordered)[inner]
    if len(gaps) == 0 or gaps.max() == 0:  # as good as another: by the median
        return np.argsort(np.argsort(best, kind="stable")) < len(views) // 2
    at = inner.start + int(gaps.argmax())
    return np.asarray(best <= ordered[at])


def _fits(views: Sequence[View], in_first: NDArray[np.bool_], fit: Fit) -> tuple[Fit, Fit]:
    first, second = (
        fit_camera(fit.lens, [v for v, own in zip(views, chosen, strict=True) if own], fit.camera)
        for chosen in (in_first, ~in_first)
    )
    return first, second


def _differ(pair: tuple[Fit, Fit], worse: Array, in_first: NDArray[np.bool_]) -> bool:
    """Whether two cameras are different, and each explains only its own photos.

    worse: (V,) error of a photo with the other camera over that with its own.
    """
    if min(np.median(worse[in_first]), np.median(worse[~in_first])) < FOREIGN:
        return False
    apart = np.abs(pair[0].camera.parameters - pair[1].camera.parameters)[:4]
    return bool(np.any(apart > APART_SIGMAS * np.hypot(pair[0].std, pair[1].std)[:4]))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
