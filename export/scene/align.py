"""Scale and orientation of a reconstruction from known camera positions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from edge_reloc.arrays import F64, Bool
from edge_reloc.geometry.rigid import camera_centre

from ..photos.exif import PhotoFacts
from ..photos.positions import PositionsError
from .model import AlignmentFacts, SceneModel, View
from .similarity import Fit, Similarity, robust_similarity, upright_fit
from .upright import (
    GIMBAL,
    LEVEL,
    TURNED_DEG,
    UNTOLD,
    Up,
    ground_warning,
    heading_error_deg,
    told_down,
    told_up,
)

log = logging.getLogger(__name__)


Axes = Literal["local", "compass", "unsigned"]
"""x and y of positions: anything; east and north; those but for missing signs."""

MIN_POSITIONS = 3
MIN_AGREEING_SHARE = 0.5
GPS_NOISE_M = 5.0  # of a receiver without corrections; three times it still agrees
AGREEING_SHARE_OF_EXTENT = 0.2  # of the distance from the middle that most keep
MAX_TILT_RAD = 0.05  # standard error from which upright photos tell the tilt better
MAX_SCALE_ERROR = 0.05  # relative standard error that still counts as metric
LINE_RATIO, LINE_NOISE = 0.1, 3.0  # across over along, along over noise
CLEARLY_BETTER = 2.0  # ratio of median residuals
ENOUGH_TO_COMPARE = 5  # positions: fewer fit their mirror image by chance
MIRROR = np.array([-1.0, 1.0, 1.0])


def align_to_positions(
    model: SceneModel,
    positions: Mapping[str, F64],
    *,
    source: str,
    facts: Mapping[str, PhotoFacts] | None = None,
    axes: Axes = "local",
    explicit: bool = False,
) -> SceneModel:
    """The model in the frame of known camera positions (3,) metres, z up.

    axes: what x and y of the positions are. Marked metric only when the scale
    is known to MAX_SCALE_ERROR, most positions agree, and the photos do not
    contradict the world that comes out; otherwise the model comes back as it
    was, with a note that says why. Positions that only their mirror image
    explains, or that put the ground above photos that look down, are a
    PositionsError when they are `explicit`: a file that somebody named.
    """
    try:
        fit = fit_positions(model, positions, source=source, facts=facts, axes=axes)
    except DoubtfulPositionsError as error:
        if explicit:
            raise PositionsError(f"{error}; correct the file, or map without it") from None
        return _unaligned(replace(model, alignment=error.facts), str(error))
    except UnfitPositionsError as error:
        return _unaligned(replace(model, alignment=error.facts), str(error))
    for note in fit.notes:
        log.info("%s", note)
    for note in fit.warnings:
        log.warning("%s", note)
    notes = [*model.notes, *fit.notes, *fit.warnings]
    return replace(fit.model, alignment=fit.facts, metric=True, notes=notes)


@dataclass(frozen=True, kw_only=True)
class PositionFit:
    """A reconstruction in the frame of N known camera positions."""

    similarity: Similarity  #: from the reconstruction's frame
    model: SceneModel  #: moved, and nothing else
    names: list[str]  #: of the photos whose positions are known
    residual: F64  #: (N,) metres
    agrees: Bool  #: (N,)
    facts: AlignmentFacts
    notes: list[str]
    warnings: list[str]


class UnfitPositionsError(PositionsError):
    """Positions that do not fit a reconstruction."""

    def __init__(self, text: str, facts: AlignmentFacts | None = None) -> None:
        super().__init__(text)
        self.facts = facts


class DoubtfulPositionsError(UnfitPositionsError):
    """Positions whose world the photos contradict."""


def fit_positions(
    model: SceneModel,
    positions: Mapping[str, F64],
    *,
    source: str,
    facts: Mapping[str, PhotoFacts] | None = None,
    axes: Axes = "local",
) -> PositionFit:
    """What takes a model to known camera positions, as `align_to_positions` asks of it.

    Raises UnfitPositionsError, and DoubtfulPositionsError where the photos contradict.
    """
    views = [view for view in model.views if view.name in positions]
    if len(views) < MIN_POSITIONS:
        raise UnfitPositionsError(
            f"{len(views)} photos have a position from {source}, expected 3 or more"
        )
    target = np.array([positions[view.name] for view in views])
    if np.ptp(target, axis=0).max() < 1e-6:
        raise UnfitPositionsError(f"all positions from {source} are the same place")
    told = facts or {}
    found = _try(model, views, target, told, axes)
    mirrored = _try(model, views, target * MIRROR, told, axes)
    doubt = _doubt(found, mirrored, axes)
    if axes == "unsigned" and _mirror_is_right(found, mirrored):
        found, doubt = mirrored, None
    if found.problem is not None and doubt is None:
        raise UnfitPositionsError(found.problem.format(source=source), found.facts)
    if doubt is not None:
        raise DoubtfulPositionsError(f"{source}: {doubt}", found.facts)
    assert found.model is not None and found.facts is not None and found.fit is not None
    return PositionFit(
        similarity=found.fit.similarity,
        model=found.model,
        names=[view.name for view in views],
        residual=found.fit.residual,
        agrees=found.agrees,
        facts=found.facts,
        notes=[f"aligned to {len(views)} positions from {source}: {found.told}", *found.notes],
        warnings=_warnings(found, told, axes),
    )


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A reconstruction put to positions, and what can be said against it."""

    problem: str | None  #: why it does not fit; with a place for the positions' {source}
    told: str  #: how well it fits
    facts: AlignmentFacts | None
    residual: float  #: median (m), height included; NaN without a fit
    fit: Fit | None = None
    agrees: Bool = field(default_factory=lambda: np.zeros(0, bool))  #: (N,)
    model: SceneModel | None = None  #: in the positions' frame
    up: Up = UNTOLD
    heading_deg: float | None = None  #: median turn from the told attitudes
    notes: tuple[str, ...] = ()


def _try(
    model: SceneModel,
    views: Sequence[View],
    target: F64,
    told: Mapping[str, PhotoFacts],
    axes: Axes,
) -> _Trial:
    centres = np.array([camera_centre(view.cam_from_world) for view in views])
    fit, notes = robust_similarity(centres, target), []
    if fit.tilt_error_rad > MAX_TILT_RAD:
        # Nothing measures the roll about a line: take it from how photos are held.
        down = told_down(model.views, told)
        why = _why_no_tilt(fit, target)
        if down is None:
            problem = f"positions from {{source}} {why}, and the photos show no horizon"
            return _Trial(problem=problem, told="", facts=None, residual=float("nan"))
        fit = upright_fit(centres, target, down.direction)
        upright = "photos assumed upright" if down.told_by == LEVEL else f"it is by {down.told_by}"
        notes.append(f"positions {why} to tell the tilt: {upright}")
    agree_m = _agreement_m(fit, target, axes)
    agree = fit.inlier & (fit.residual <= agree_m)
    count, error = int(agree.sum()), fit.scale_error
    facts = AlignmentFacts(
        n=len(views),
        inliers=count,
        median_residual_m=float(np.median(fit.residual)),
        p90_residual_m=float(np.percentile(fit.residual, 90)),
        scale_error=error if np.isfinite(error) else None,
    )
    scale = f"scale known to {100 * error:.2g} %" if np.isfinite(error) else "scale unchecked"
    text = f"median residual {facts.median_residual_m:.3g} m, {count} agree, {scale}"
    aligned = transform_model(model, fit.similarity)
    moved = fit.similarity.apply(centres) - target
    return _Trial(
        problem=_problem(facts, agree_m, text),
        told=text,
        facts=facts,
        residual=float(np.median(np.linalg.norm(moved, axis=1))),
        fit=fit,
        agrees=agree,
        model=aligned,
        up=told_up(aligned.views, told),
        heading_deg=heading_error_deg(aligned.views, told) if axes == "compass" else None,
        notes=tuple(notes),
    )


def _problem(facts: AlignmentFacts, agree_m: float, text: str) -> str | None:
    """Why a fit is not good enough, as precisely as it can be said."""
    start = "positions from {source} do not fit the reconstruction"
    if facts.inliers < MIN_AGREEING_SHARE * facts.n:
        return (
            f"{start}: {facts.inliers} of {facts.n} agree within {agree_m:.3g} m (median residual "
            f"{facts.median_residual_m:.3g} m), expected half or more: names, positions or the "
            f"reconstruction are wrong"
        )
    if facts.scale_error is None or facts.inliers < MIN_POSITIONS:
        return (
            f"{start}: {facts.inliers} of {facts.n} agree, and so few fit whatever they are, so "
            f"nothing checks the scale; expected {MIN_POSITIONS} that agree"
        )
    if facts.scale_error > MAX_SCALE_ERROR:
        return f"{start}: {text}; expected {100 * MAX_SCALE_ERROR:.0f} % or better"
    return None


def _why_no_tilt(fit: Fit, target: F64) -> str:
    """What keeps positions from telling the tilt: their shape or their noise."""
    rows = target[fit.inlier]
    extent = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) / np.sqrt(len(rows))
    noise = float(np.median(fit.residual))
    across = np.sqrt(max(float(extent[1]) ** 2 - noise**2, 0.0))
    if extent[0] > LINE_NOISE * noise and across < LINE_RATIO * extent[0]:
        return "are too close to a line"
    return f"are too noisy ({noise:.3g} m) for their extent ({float(extent[0]):.3g} m)"


def _agreement_m(fit: Fit, target: F64, axes: Axes) -> float:
    """Residual up to which a position agrees, however large the others' are."""
    away = np.percentile(np.linalg.norm(target - np.median(target, axis=0), axis=1), 75)
    noise = 0.0 if axes == "local" else 3 * GPS_NOISE_M
    spread = 5.0 * max(1.4826 * float(np.median(fit.residual)), 1e-9)
    return min(spread, max(noise, AGREEING_SHARE_OF_EXTENT * float(away)))


def _clearly_better(a: _Trial, b: _Trial) -> _Trial | None:
    """The one of two fits that explains the positions clearly better, if any."""
    if a.facts is None or b.facts is None or a.facts.n < ENOUGH_TO_COMPARE:
        return None
    floor = 1e-6 * max(a.residual, b.residual)
    for one, other in ((a, b), (b, a)):
        if other.residual > CLEARLY_BETTER * one.residual + floor:
            return one
    return None


def _mirror_is_right(found: _Trial, mirrored: _Trial) -> bool:
    """Whether positions of unknown signs are those of their mirror image."""
    if mirrored.problem is not None or mirrored.up.contradicts:
        return False
    better = _clearly_better(found, mirrored)
    if better is not None:
        return better is mirrored
    if found.problem is not None:
        return mirrored.residual < found.residual
    return found.up.contradicts or (mirrored.up.agrees and not found.up.agrees)


def _doubt(found: _Trial, mirrored: _Trial, axes: Axes) -> str | None:
    """Why the world is not to be believed though positions may fit; None to believe it.

    Positions on a plane fit their mirror image as well, with the ground above:
    there residuals say nothing, and up decides.
    """
    words = {
        "compass": "a sign of latitude or longitude is probably missing, or they are exchanged",
        "unsigned": "the photos' GPS does not tell north or south, east or west",
        "local": "x and y are probably exchanged, or one of them has the wrong sign",
    }
    fits = "the positions fit the photos, but"
    better = _clearly_better(found, mirrored)
    plausible = mirrored.problem is None and not mirrored.up.contradicts
    if plausible and better is mirrored:
        return f"only the mirror image of the positions fits the photos: {words[axes]}"
    if found.problem is not None:
        return None
    if found.up.contradicts and better is not found:
        return f"{fits} upside down (by {found.up.told_by}): {words[axes]}"
    if found.up.contradicts and (axes != "local" and found.up.told_by == GIMBAL):
        return f"{fits} upside down (by {found.up.told_by}): the sign of heights is wrong"
    if axes == "unsigned" and better is None and not found.up.agrees and not mirrored.up.agrees:
        return f"{words[axes]}, and nothing else tells which way is up"
    if found.heading_deg is not None and found.heading_deg > TURNED_DEG:
        return (
            f"{fits} the photos are turned by {found.heading_deg:.0f} degrees from the gimbal's "
            f"angles: both signs are probably missing, or they are another flight's"
        )
    return None


def _warnings(found: _Trial, told: Mapping[str, PhotoFacts], axes: Axes) -> list[str]:
    out = []
    assert found.model is not None
    if found.up.contradicts:
        out.append(f"z of the positions points down, by {found.up.told_by}: expected z up")
    ground = ground_warning(found.model, told)
    if ground is not None:
        out.append(ground)
    if axes == "unsigned":
        out.append("not georeferenced: the photos' GPS does not tell the hemisphere")
    return out


def transform_model(model: SceneModel, similarity: Similarity) -> SceneModel:
    """The model in the target frame; gravity turns along."""
    views = [
        replace(view, cam_from_world=similarity.of_pose(view.cam_from_world))
        for view in model.views
    ]
    gravity = None if model.gravity is None else similarity.rotation @ model.gravity
    return replace(model, views=views, xyz=similarity.apply(model.xyz), gravity=gravity)


def _unaligned(model: SceneModel, reason: str) -> SceneModel:
    log.warning("not metric: %s", reason)
    return replace(model, metric=False, notes=[*model.notes, f"not metric: {reason}"])
