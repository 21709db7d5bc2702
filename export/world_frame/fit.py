"""A similarity from places known in two worlds, and whether it is to be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.bundle import World
from edge_reloc.errors import MappingError
from edge_reloc.geometry.rigid import camera_centre, rotation_angle_rad

from ..scene.align import LINE_RATIO, MAX_SCALE_ERROR, MAX_TILT_RAD
from ..scene.similarity import Fit, Similarity, robust_similarity, umeyama, upright_fit
from .marks import Place

DOWN = (0.0, 0.0, -1.0)
CORNER = "/corner "  # between the name of a tag and the number of a corner
FEWEST = 3
LARGEST_SHARE = 0.02  # of the extent, that the residual of a place may be
MOST_LEFT_OUT = 1 / 3  # of the places
TAPE = 0.002  # relative standard error of a measured length
LARGEST_SCALE_SHARE = 0.05  # of a measured length, that its residual may be
LARGEST_TURN_DEG = 3.0  # median, of photos' orientations in two worlds
MOST_COMPARED = 200  # rotations, each with each
CLEARLY_BETTER = 0.3  # of the largest residual: what is left without the worst place


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a world was aligned to, and what is left of its difference."""

    name: str
    residual: float  #: world units
    left_out: bool = False


@dataclass(frozen=True, kw_only=True)
class WorldFit:
    """A world that fits what is known, and what it was fitted to, in words."""

    source: str
    similarity: Similarity  #: from the map's world
    items: list[Item]
    world: World
    warnings: list[str] = field(default_factory=list)


def fit_places(
    places: Mapping[str, Place],
    known: Mapping[str, F64],
    *,
    source: str,
    gravity: F64 | None,
    largest_m: float | None = None,
) -> tuple[Similarity, list[Item]]:
    """Similarity that takes places of the map's world to where (3,) they are known to be, z up.

    The corners of a tag, `tag 3/corner 0` and so on, are one item. gravity (3,): down in the map's
    world, for places on a line, about which nothing else tells the roll. largest_m: residual
    that is accepted (default: LARGEST_SHARE of the extent). Raises MappingError.
    """
    names = [name for name in places if name in known]
    if len(names) < FEWEST:
        raise MappingError(
            f"{source}: {len(names)} of its {len(known)} places were found in the photos "
            f"({', '.join(names) or 'none'}), expected {FEWEST} or more"
        )
    here = np.array([places[name].xyz for name in names])
    there = np.array([known[name] for name in names])
    fit, down = robust_similarity(here, there), None
    unsure = fit.tilt_error_rad > MAX_TILT_RAD
    if unsure and gravity is not None:
        fit, down = upright_fit(here, there, gravity), gravity
    elif unsure and _on_a_line(there):
        raise MappingError(
            f"{source}: its places lie on a line, which tells no tilt, and the map knows no "
            f"gravity; add a place beside the line"
        )
    spread = np.array([np.sqrt(np.trace(places[name].covariance)) for name in names])
    return _believed(fit, names, here, there, spread, source, largest_m, down)


def _believed(
    fit: Fit,
    names: Sequence[str],
    here: F64,
    there: F64,
    spread: F64,
    source: str,
    largest_m: float | None,
    down: F64 | None,
) -> tuple[Similarity, list[Item]]:
    extent = float(np.linalg.norm(np.ptp(there, axis=0)))
    limit = largest_m or LARGEST_SHARE * extent
    residual = np.linalg.norm(fit.similarity.apply(here) - there, axis=1)
    good = residual <= limit
    worst = int(np.argmax(residual))
    if (~good).sum() > MOST_LEFT_OUT * len(names) or good.sum() < FEWEST:
        raise MappingError(
            f"{source}: {int((~good).sum())} of {len(names)} places lie more than {limit:.3g} m "
            f"from where they should (worst '{names[worst]}', {residual[worst]:.3g} m), expected "
            f"at most a third of them{_without(names, here, there, residual)}; correct names, "
            f"coordinates or marks, or allow more with --max-residual"
        )
    if fit.scale_error > MAX_SCALE_ERROR:
        known = f"the scale is known to {fit.scale_error:.0%}"
        raise MappingError(
            f"{source}: {'nothing checks the scale' if np.isinf(fit.scale_error) else known}, "
            f"expected {MAX_SCALE_ERROR:.0%} or better; add places, farther "
            f"apart{_without(names, here, there, residual)}"
        )
    if fit.tilt_error_rad > MAX_TILT_RAD:
        raise MappingError(
            f"{source}: the tilt is known to {np.degrees(fit.tilt_error_rad):.1f} degrees, "
            f"expected {np.degrees(MAX_TILT_RAD):.1f} or better; add places, farther from the "
            f"line through these{_without(names, here, there, residual)}"
        )
    if down is None:  # what is known better counts for more
        sigma = np.hypot(fit.similarity.scale * spread, np.median(residual))[good]
        similarity = umeyama(here[good], there[good], 1 / np.maximum(sigma, 1e-12) ** 2)
    else:
        similarity = upright_fit(here[good], there[good], down).similarity
    residual = np.linalg.norm(similarity.apply(here) - there, axis=1)
    return similarity, _grouped(names, residual, good)


def _on_a_line(xyz: F64) -> bool:
    extent = np.linalg.svd(xyz - xyz.mean(axis=0), compute_uv=False)
    return bool(extent[1] < LINE_RATIO * extent[0])


def _without(names: Sequence[str], here: F64, there: F64, residual: F64) -> str:
    """Which place spoils the fit, where one does."""
    if len(names) <= FEWEST:
        return ""
    left = []
    for row in range(len(names)):
        keep = np.arange(len(names)) != row
        similarity = umeyama(here[keep], there[keep])
        left.append(np.linalg.norm(similarity.apply(here[keep]) - there[keep], axis=1).max())
    best = int(np.argmin(left))
    if left[best] > CLEARLY_BETTER * residual.max():
        return ""
    return f"; without '{names[best]}' the others fit within {left[best]:.3g} m"


def _grouped(names: Sequence[str], residual: F64, good: np.ndarray) -> list[Item]:
    """One item a name, the worst of a group's."""
    items: dict[str, Item] = {}
    for name, value, fits in zip(names, residual, good, strict=True):
        group = name.partition(CORNER)[0]
        before = items.get(group)
        if before is None or before.residual < value:
            left_out = not fits or (before is not None and before.left_out)
            items[group] = Item(name=group, residual=float(value), left_out=left_out)
    return list(items.values())


class Length(NamedTuple):
    """A length that was measured in the map and in metres."""

    name: str
    units: float  #: in the map
    metres: float
    error: float  #: relative standard error of the former


def fit_scale(
    lengths: Sequence[Length], *, source: str, largest_m: float | None = None
) -> tuple[float, list[Item]]:
    """Metres in a unit of the map, by least squares.

    largest_m: residual that is accepted (default: LARGEST_SCALE_SHARE of the length). Raises
    MappingError.
    """
    here = np.array([length.units for length in lengths])
    there = np.array([length.metres for length in lengths])
    weight = 1 / (here**2 * (np.array([length.error for length in lengths]) ** 2 + TAPE**2))
    scale = float(weight @ (here * there) / (weight @ here**2))
    residual = scale * here - there
    limit = np.full(len(here), largest_m) if largest_m else LARGEST_SCALE_SHARE * there
    worst = int(np.argmax(np.abs(residual) / limit))
    if abs(residual[worst]) > limit[worst]:
        raise MappingError(
            f"{source}: '{lengths[worst].name}' measures {there[worst]:.4g} m and is "
            f"{scale * here[worst]:.4g} m in the map that fits all {len(here)}, expected a "
            f"difference of at most {limit[worst]:.3g} m; measure or mark it again, or allow more "
            f"with --max-residual"
        )
    return scale, [
        Item(name=length.name, residual=abs(float(r)))
        for length, r in zip(lengths, residual, strict=True)
    ]


def fit_poses(
    here: Mapping[str, F64],
    there: Mapping[str, F64],
    *,
    source: str,
    largest_m: float | None = None,
    unit: str = "m",
) -> tuple[Similarity, list[Item]]:
    """Similarity between two worlds, from poses `cam_from_world` (4,4) of photos in both.

    By the positions; where these lie on a line, the rotation is that of the orientations.
    Raises MappingError.
    """
    names = [name for name in here if name in there]
    if len(names) < FEWEST:
        raise MappingError(
            f"{source}: {len(names)} photos have a pose in both maps, expected {FEWEST} or more"
        )
    mine = np.array([camera_centre(here[name]) for name in names])
    other = np.array([camera_centre(there[name]) for name in names])
    turns = np.array([there[name][:3, :3].T @ here[name][:3, :3] for name in names])
    fit = robust_similarity(mine, other)
    if fit.tilt_error_rad > MAX_TILT_RAD:
        similarity = _with_rotation(_mean_rotation(turns), mine, other)
    else:
        similarity = fit.similarity
    residual = np.linalg.norm(similarity.apply(mine) - other, axis=1)
    angle = np.degrees([rotation_angle_rad(t @ similarity.rotation.T) for t in turns])
    extent = float(np.linalg.norm(np.ptp(other, axis=0)))
    limit = largest_m or LARGEST_SHARE * extent
    good = residual <= limit
    if (~good).sum() > MOST_LEFT_OUT * len(names) or good.sum() < FEWEST:
        raise MappingError(
            f"{source}: {int((~good).sum())} of {len(names)} photos lie more than {limit:.3g} "
            f"{unit} apart in the two maps (median {np.median(residual):.3g} {unit}), expected at "
            f"most a third: one of the maps is bent, or they show different places; allow more "
            f"with --max-residual"
        )
    if np.median(angle) > LARGEST_TURN_DEG:
        raise MappingError(
            f"{source}: positions agree, but the photos look {np.median(angle):.1f} degrees away "
            f"from each other in the two maps, expected {LARGEST_TURN_DEG:g} at most; the photos' "
            f"names may be exchanged"
        )
    items = [
        Item(name=name, residual=float(r), left_out=not fits)
        for name, r, fits in zip(names, residual, good, strict=True)
    ]
    return similarity, items


def _mean_rotation(turns: F64) -> F64:
    """Chordal mean (3,3) of rotations (N,3,3), those left out that are far from the median one."""
    some = turns[np.unique(np.linspace(0, len(turns) - 1, MOST_COMPARED).astype(int))]
    alike = np.einsum("aij,bij->ab", some, some)  # traces of the turns between them
    middle = some[int(np.argmax(np.median(alike, axis=1)))]
    near = [t for t in turns if rotation_angle_rad(t @ middle.T) < np.radians(LARGEST_TURN_DEG)]
    u, _, vt = np.linalg.svd(np.mean(near, axis=0))
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt)


def _with_rotation(rotation: F64, here: F64, there: F64) -> Similarity:
    """Scale and translation under a known rotation, by medians."""
    turned = here @ rotation.T
    first, second = turned - np.median(turned, axis=0), there - np.median(there, axis=0)
    scale = max(float((first * second).sum() / (first * first).sum()), 1e-12)
    for _ in range(10):
        moved = np.median(there - scale * turned, axis=0)
        off = np.linalg.norm(scale * turned + moved - there, axis=1)
        weight = 1 / np.maximum(off, 1.4826 * np.median(off) + 1e-12)
        centred = turned - weight @ turned / weight.sum()
        scale = float(weight @ (centred * there).sum(axis=1) / (weight @ (centred**2).sum(axis=1)))
    moved = np.median(there - scale * turned, axis=0)
    return Similarity(scale=scale, rotation=rotation, translation=moved)
