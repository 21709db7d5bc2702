"""What a user can choose when a map is opened; all of it in one object."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Gate:
    """When a pose is believed.

    min_inliers: matches that agree. min_inlier_ratio: of all matches.
    min_spread: occupied cells of a 4x4 grid over the image.
    max_rotation_std_deg: largest standard deviation of the rotation, which
    catches poses that hang on a few clumped points. min_coverage: of the
    image parts that should agree with the pose, how many do (second pass);
    None takes what the map's features ask for.
    min_keypoints: below, the image is called featureless.
    """

    min_inliers: int = 15
    min_inlier_ratio: float = 0.04
    min_spread: int = 4
    max_rotation_std_deg: float = 2.0
    min_coverage: float | None = None
    min_keypoints: int = 30

    def __post_init__(self) -> None:
        if self.min_inliers < 6:
            raise ConfigError(f"gate: min_inliers is {self.min_inliers}, expected at least 6")
        if not 0 <= self.min_inlier_ratio < 1:
            raise ConfigError(f"gate: min_inlier_ratio is {self.min_inlier_ratio}, expected 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to localise. None takes what the bundle says.

    method: a name of `methods.METHODS`. head: of `visible_structure`,
    "cells" or "generative". candidates: how many map points are matched at
    most. images: mapping images that `image_retrieval` takes. search: of the
    generative head, "radius" or "nearest"; radius: in map units. landmarks: how many
    of those that `landmarks` recognises are tried at most. registration: of its landmarks,
    "one_pass" (all matched, one solved pose) or "landmark_wise" (one after the other, as
    published). second_pass: match once more around the first pose. tracking: begin with
    the pose that the last frames predict, where there is one. threshold_px: reprojection
    error of an inlier at an image 640 pixels wide, scaled with the width. match_block:
    candidates that are compared at once; memory for speed. precision: of the networks,
    "float32" or "float16". engine: of the networks, "onnxruntime" or "tensorrt"; "auto" falls
    back to the first when the second does not work. matcher: "cpu" or "cuda". threads: of
    networks and matching on the CPU, 0 for one a core. in_flight: frames worked on at once,
    1 or 2: with 2 the next frame's features are found while a frame is localised.
    """

    method: str | None = None
    head: str | None = None
    candidates: int | None = None
    images: int = 10
    search: str = "radius"
    radius: float | None = None
    landmarks: int | None = None
    registration: str | None = None
    second_pass: bool | None = None
    tracking: bool = False
    threshold_px: float | None = None
    min_similarity: float | None = None
    max_ratio: float | None = None
    seed: int = 0
    match_block: int = 256
    precision: str | None = None
    engine: str | None = None
    matcher: str | None = None
    threads: int = 0
    in_flight: int = 1
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        if self.head not in (None, "cells", "generative"):
            raise ConfigError(f"head: found '{self.head}', expected 'cells' or 'generative'")
        if self.search not in ("radius", "nearest"):
            raise ConfigError(f"search: found '{self.search}', expected 'radius' or 'nearest'")
        if self.registration not in (None, "one_pass", "landmark_wise"):
            raise ConfigError(
                f"registration: found '{self.registration}', expected 'one_pass' or 'landmark_wise'"
            )
        if self.landmarks is not None and self.landmarks < 1:
            raise ConfigError(f"landmarks: found {self.landmarks}, expected at least 1")
        if self.precision not in (None, "float32", "float16"):
            raise ConfigError(
                f"precision: found '{self.precision}', expected 'float32' or 'float16'"
            )
        if self.engine not in (None, "onnxruntime", "tensorrt", "auto"):
            raise ConfigError(
                f"engine: found '{self.engine}', expected 'onnxruntime', 'tensorrt' or 'auto'"
            )
        if self.matcher not in (None, "cpu", "cuda"):
            raise ConfigError(f"matcher: found '{self.matcher}', expected 'cpu' or 'cuda'")
        if self.candidates is not None and self.candidates < 16:
            raise ConfigError(f"candidates: found {self.candidates}, expected at least 16")
        if not 16 <= self.match_block <= 1 << 16:
            raise ConfigError(f"match_block: found {self.match_block}, expected 16 to 65536")
        if self.in_flight not in (1, 2):
            raise ConfigError(f"in_flight: found {self.in_flight}, expected 1 or 2")
        if self.images < 1:
            raise ConfigError(f"images: found {self.images}, expected at least 1")
        if self.threshold_px is not None and self.threshold_px <= 0:
            raise ConfigError(f"threshold_px: found {self.threshold_px}, expected above 0")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Settings of a dictionary; unknown keys raise ConfigError."""
        known = {f.name for f in fields(cls)}
        if unknown := set(values) - known:
            raise ConfigError(f"settings: unknown {sorted(unknown)}; expected {sorted(known)}")
        values = dict(values)
        if isinstance(values.get("gate"), dict):
            values["gate"] = Gate(**values["gate"])
        return cls(**values)
