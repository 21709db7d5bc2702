"""The table of methods: which retriever answers for which name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..bundle.fields import read_fields
from ..bundle.points import PointMap, open_points
from ..bundle.reader import MapBundle
from ..embedding.place import open_embedding
from ..embedding.spec import DINOV2, VLAD, VLAD_AND_PLACE
from ..errors import BundleError, ConfigError
from ..features.spec import FeatureSpec
from ..inference.engines import Engines
from ..matching.coordinates import CoordinateMatcher
from ..retrieval.cells import CellsRetriever
from ..retrieval.exhaustive import ExhaustiveRetriever
from ..retrieval.generative import GenerativeRetriever
from ..retrieval.image_retrieval import ImageRetriever
from ..retrieval.landmarks import LandmarkRetriever, open_landmarks
from ..retrieval.nothing import NothingRetriever
from ..settings import Settings
from ..stages import Embedder, Matcher, Retriever


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method adds to the common line. capacity: candidates at most.

    points: of the map, None where networks hold the map. landmark_wise: its groups are
    registered one after the other. features, matcher: its own instead of the map's features
    and nearest neighbours. threshold_px: reprojection error of an inlier at 640 pixels width.
    min_inlier_ratio: that its poses must reach, where the gate asks for less. as_before: share
    of the last frame's inliers at which a turned map's other headings are not tried.
    """

    retriever: Retriever
    capacity: int
    points: PointMap | None
    embedder: Embedder | None = None
    landmark_wise: bool = False
    features: FeatureSpec | None = None
    matcher: Matcher | None = None
    threshold_px: float = 8.0
    min_inlier_ratio: float = 0.0
    as_before: float = 0.5


Builder = Callable[[MapBundle, Engines, Settings], Method]


def _exhaustive(bundle: MapBundle, engines: Engines, settings: Settings) -> Method:
    points = open_points(bundle)
    return Method(
        retriever=ExhaustiveRetriever(points.n),
        capacity=settings.candidates or points.n,
        points=points,
    )


def _image_retrieval(bundle: MapBundle, engines: Engines, settings: Settings) -> Method:
    points = open_points(bundle)
    return Method(
        retriever=ImageRetriever(bundle, points.n, settings.images),
        capacity=min(points.n, settings.candidates or points.n),
        points=points,
        embedder=_embedder(bundle, engines),
    )


def _visible_structure(bundle: MapBundle, engines: Engines, settings: Settings) -> Method:
    points = open_points(bundle)
    values = bundle.manifest.methods.get("visible_structure", {})
    head = settings.head or values.get("head")
    if head is None or head not in values.get("heads", {}):
        raise BundleError(
            f"{bundle.directory}: has no trained '{head or 'visible_structure'}' head; "
            f"train one with 'edge-reloc train --map {bundle.directory}'"
        )
    tuned = values["heads"][head]
    capacity = min(points.n, settings.candidates or int(tuned["candidates"]))
    engine = engines.open(tuned["network"])
    retriever: Retriever
    if head == "cells":
        retriever = CellsRetriever(points, engine)
    else:
        retriever = GenerativeRetriever(
            points,
            engine,
            radius=settings.radius or float(tuned["radius"]),
            voxel=float(tuned["voxel"]),
            search=settings.search,
        )
    return Method(
        retriever=retriever,
        capacity=capacity,
        points=points,
        embedder=_embedder(bundle, engines),
    )


def _landmarks(bundle: MapBundle, engines: Engines, settings: Settings) -> Method:
    points = open_points(bundle)
    tuned = bundle.manifest.methods.get("landmarks")
    if tuned is None:
        raise BundleError(
            f"{bundle.directory}: has no trained landmarks; "
            f"train them with 'edge-reloc train --method landmarks --map {bundle.directory}'"
        )
    if missing := {"network", "most", "registration"} - set(tuned):
        raise BundleError(
            f"{bundle.directory}: its method 'landmarks' has no {sorted(missing)}; train it again"
        )
    landmarks = open_landmarks(bundle, points.n)
    most = settings.landmarks or int(tuned["most"])
    registration = settings.registration or tuned["registration"]
    return Method(
        retriever=LandmarkRetriever(landmarks, engines.open(tuned["network"]), most=most),
        capacity=min(settings.candidates or points.n, landmarks.largest(most)),
        points=points,
        landmark_wise=registration == "landmark_wise",
    )


def _scene_coordinates(bundle: MapBundle, engines: Engines, settings: Settings) -> Method:
    tuned = bundle.manifest.methods.get("scene_coordinates", {})
    if not {"features", "threshold_px", "min_inlier_ratio"} <= set(tuned):
        raise BundleError(
            f"{bundle.directory}: has no trained scene coordinates; "
            f"train them with 'edge-reloc train --method scene_coordinates --map "
            f"{bundle.directory}'"
        )
    if settings.second_pass or settings.tracking:
        asked = "second pass" if settings.second_pass else "tracking"
        raise ConfigError(
            f"method scene_coordinates: has no {asked}, which needs the descriptors of a map; "
            f"leave it out, or choose another method"
        )
    return Method(
        retriever=NothingRetriever(),
        capacity=1,
        points=None,
        features=read_fields(FeatureSpec, tuned["features"], str(bundle.directory)),
        matcher=CoordinateMatcher(),
        threshold_px=float(tuned["threshold_px"]),
        min_inlier_ratio=float(tuned["min_inlier_ratio"]),
        as_before=0.9,  # at a wrong heading most cells may agree, at the right one nearly all
    )


def _embedder(bundle: MapBundle, engines: Engines) -> Embedder:
    spec = bundle.manifest.embedding
    kind = spec.kind if spec else None
    if kind in (VLAD, VLAD_AND_PLACE):
        return open_embedding(bundle)
    if spec and spec.kind == DINOV2 and spec.network:
        from ..embedding.dinov2 import DinoV2Embedder

        return DinoV2Embedder(engines.open(spec.network))
    raise BundleError(
        f"{bundle.directory}: image embedding '{kind}' is unknown; upgrade edge_reloc"
    )


METHODS: dict[str, Builder] = {
    "exhaustive": _exhaustive,
    "image_retrieval": _image_retrieval,
    "visible_structure": _visible_structure,
    "landmarks": _landmarks,
    "scene_coordinates": _scene_coordinates,
}


def build_method(name: str, bundle: MapBundle, engines: Engines, settings: Settings) -> Method:
    """The method of a name; ConfigError lists the known ones."""
    if name not in METHODS:
        raise ConfigError(f"method: found '{name}', expected one of {', '.join(METHODS)}")
    return METHODS[name](bundle, engines, settings)
