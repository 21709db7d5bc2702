"""The ways to align a map, each from what a user can know of a place."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.bundle import MapBundle, World, open_bundle
from edge_reloc.errors import MappingError
from edge_reloc.geometry.rigid import camera_centre

from ..photos.positions import gps_from_exif, local_positions, read_gps, read_positions
from ..scene.align import Axes, UnfitPositionsError, fit_positions
from ..scene.similarity import Similarity
from ..work_folder import work_folder
from .april_tags import places_of_tags, read_tags, tags_in_photos
from .control_points import Mark, read_gcp_list, read_marks, read_places
from .distances import measured_lengths, read_distances
from .fit import (
    DOWN,
    FEWEST,
    LARGEST_SCALE_SHARE,
    Item,
    Length,
    WorldFit,
    fit_places,
    fit_poses,
    fit_scale,
)
from .marks import exact, places_of_marks
from .other_map import poses_in_both
from .posed_photos import PosedPhotos

FARTHEST = 1e4  # of points from the origin: beyond, float32 rounds them to more than a millimetre
BETTER_POSITIONS = (
    "correct them, give more exact ones or photos farther apart, or align by --points, --tags or "
    "--distances"
)
NOTHING_CHECKS = "one length: nothing checks it; measure another one"


def to_photo_positions(options: argparse.Namespace, photos: PosedPhotos) -> WorldFit:
    """Where photos were taken: metres of a file, or GPS of a file or of their headers."""
    facts = photos.facts()
    axes: Axes = "local"
    origin = None
    if options.positions is not None:
        positions, source = read_positions(options.positions), options.positions.name
    else:
        exif = options.gps == "exif"
        gps = gps_from_exif(facts.values()) if exif else read_gps(Path(options.gps))
        source = "the photos' EXIF" if exif else Path(options.gps).name
        seen = {view.name for view in photos.views}
        gps = {name: place for name, place in gps.items() if name in seen}
        signed = all(place.signed for place in gps.values())
        axes = "compass" if signed else "unsigned"
        positions, origin = local_positions(gps) if gps else ({}, None)
        origin = origin if signed else None
    named = sum(view.name in positions for view in photos.views)
    if named < FEWEST:
        raise MappingError(
            f"{source}: gives positions of {named} of {len(photos.views)} posed photos, expected "
            f"{FEWEST} or more; photos are named like '{photos.views[0].name}'"
        )
    try:
        fit = fit_positions(photos.model, positions, source=source, facts=facts, axes=axes)
    except UnfitPositionsError as error:
        raise MappingError(f"{error}; {BETTER_POSITIONS}") from None
    worst = fit.facts.p90_residual_m
    if options.max_residual is not None and worst > options.max_residual:
        raise MappingError(
            f"{source}: nine of ten positions agree within {worst:.3g} m, expected "
            f"--max-residual {options.max_residual:g} m; correct the positions, or allow more"
        )
    items = [
        Item(name=name, residual=float(residual), left_out=not agrees)
        for name, residual, agrees in zip(fit.names, fit.residual, fit.agrees, strict=True)
    ]
    return _in_metres(source, fit.similarity, items, origin, photos, [*fit.warnings])


def to_points(options: argparse.Namespace, photos: PosedPhotos) -> WorldFit:
    """Surveyed points that photos show."""
    source = options.points.name
    if options.marks is None:
        known, marks = read_gcp_list(options.points)
    else:
        known, marks = read_places(options.points), read_marks(options.marks)
    places = places_of_marks(photos.views, [m for m in marks if m.name in known.xyz], source)
    similarity, items = fit_places(
        places,
        known.xyz,
        source=source,
        gravity=photos.model.gravity,
        largest_m=options.max_residual,
    )
    return _in_metres(source, similarity, items, known.origin, photos, [])


def to_tags(options: argparse.Namespace, photos: PosedPhotos) -> WorldFit:
    """AprilTags of a known size, perhaps at known places."""
    tags = tags_in_photos(photos, options.tag_family)
    if options.tag_poses is not None:
        source = options.tag_poses.name
        known = read_tags(options.tag_poses, options.tags)
        similarity, items = fit_places(
            places_of_tags(tags),
            known.xyz,
            source=source,
            gravity=photos.model.gravity,
            largest_m=options.max_residual,
        )
        side = similarity.scale * float(np.median([tag.side for tag in tags]))
        if abs(side - options.tags) > LARGEST_SCALE_SHARE * options.tags:
            raise MappingError(
                f"{source}: tags measure {side:.4g} m in the map that fits their places, expected "
                f"--tags {options.tags:g} m, the side of the black square"
            )
        return _in_metres(source, similarity, items, known.origin, photos, [])
    lengths = [Length(f"tag {tag.number}", tag.side, options.tags, tag.error) for tag in tags]
    source = f"{len(tags)} AprilTags of {options.tags:g} m"
    scale, items = fit_scale(lengths, source=source, largest_m=options.max_residual)
    return _scaled(source, scale, items, photos)


def to_distances(options: argparse.Namespace, photos: PosedPhotos) -> WorldFit:
    """Measured distances between photos or marked places."""
    source = options.distances.name
    distances = read_distances(options.distances)
    marks: list[Mark] = [] if options.marks is None else read_marks(options.marks)
    places = {view.name: exact(camera_centre(view.cam_from_world)) for view in photos.views}
    places |= places_of_marks(photos.views, marks, source)
    lengths = measured_lengths(distances, places, source)
    scale, items = fit_scale(lengths, source=source, largest_m=options.max_residual)
    return _scaled(source, scale, items, photos)


def to_map(options: argparse.Namespace, bundle: MapBundle, work: Path) -> WorldFit:
    """Another map of the place, whose world becomes this one's."""
    other = open_bundle(options.to_map)
    source = f"map {options.to_map}"
    world = other.manifest.world
    if world.parts:
        raise MappingError(
            f"{options.to_map}: combined of {', '.join(world.parts)}, which lie apart in it; name "
            f"the one that shows this place"
        )
    works = work, options.other_work or work_folder(options.to_map)
    both = poses_in_both(bundle, other, works, options.photos, options.calibration)
    similarity, items = fit_poses(
        both.here,
        both.there,
        source=source,
        largest_m=options.max_residual,
        unit="m" if world.metric else "units",
    )
    gravity = world.gravity or _turned(bundle.manifest.world.gravity, similarity)
    return WorldFit(
        source=source,
        similarity=similarity,
        items=items,
        world=World(metric=world.metric, gravity=gravity, georeference=world.georeference),
    )


def _in_metres(
    source: str,
    similarity: Similarity,
    items: list[Item],
    origin: dict[str, float] | None,
    photos: PosedPhotos,
    warnings: list[str],
) -> WorldFit:
    """A world with z up. Raises MappingError where its origin is too far away."""
    seen = photos.model.xyz if len(photos.model.xyz) else _centres(photos)
    away = float(np.linalg.norm(similarity.apply(np.median(seen, axis=0)[None])))
    if away > FARTHEST:
        raise MappingError(
            f"{source}: the map would lie {away:.0f} m away from the origin of these coordinates, "
            f"expected {FARTHEST:.0f} m at most, since points are kept to seven digits; subtract "
            f"an offset from x, y and z, or name their coordinate system"
        )
    return WorldFit(
        source=source,
        similarity=similarity,
        items=items,
        world=World(metric=True, gravity=DOWN, georeference=origin),
        warnings=warnings,
    )


def _scaled(source: str, scale: float, items: list[Item], photos: PosedPhotos) -> WorldFit:
    """The same world in metres: origin and axes stay."""
    model = photos.model
    down = None if model.gravity is None else model.gravity.tolist()
    return WorldFit(
        source=source,
        similarity=Similarity(scale=scale, rotation=np.eye(3), translation=np.zeros(3)),
        items=items,
        world=World(
            metric=True,
            gravity=None if down is None else (down[0], down[1], down[2]),
            georeference=model.georeference,
        ),
        warnings=[f"{source}: {NOTHING_CHECKS}"] if len(items) == 1 else [],
    )


def _centres(photos: PosedPhotos) -> F64:
    return np.array([camera_centre(view.cam_from_world) for view in photos.views])


def _turned(
    gravity: tuple[float, float, float] | None, similarity: Similarity
) -> tuple[float, float, float] | None:
    if gravity is None:
        return None
    x, y, z = (similarity.rotation @ np.array(gravity)).tolist()
    return x, y, z
