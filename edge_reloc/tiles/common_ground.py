"""What tiles must have in common: features that are found once, and a world."""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, degrees

from ..bundle.manifest import Count, Manifest, World
from ..errors import BundleError
from ..features.spec import FeatureSpec

#: gravity of separately made maps differs by this much at most, degrees
GRAVITY_DEG = 5.0
Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True, kw_only=True)
class FeatureIdentity:
    """What must be the same in all tiles, so that a frame's features are found once."""

    kind: str
    #: D
    dim: Count
    #: N
    keypoints: Count
    max_side: Count
    turns: bool = False
    #: G
    place_dim: Count = 0
    #: of the networks' inputs
    sizes: tuple[Size, ...] = ()
    weights_sha256: str | None = None

    @classmethod
    def of(cls, spec: FeatureSpec) -> FeatureIdentity:
        """That of a map."""
        return cls(
            kind=spec.kind,
            dim=spec.dim,
            keypoints=spec.keypoints,
            max_side=spec.max_side,
            turns=spec.turns,
            place_dim=spec.place_dim,
            sizes=tuple(sorted((n.width, n.height) for n in spec.networks)),
            weights_sha256=spec.weights_sha256,
        )

    def unlike(self, other: FeatureIdentity) -> str | None:
        """The first difference in words: what `other` has, and what is expected here."""
        for name, expected in vars(self).items():
            found = getattr(other, name)
            if found != expected:
                return f"{name} {_short(found)}, expected {_short(expected)}"
        return None


def check_fits(world: World, features: FeatureIdentity, manifest: Manifest, where: str) -> None:
    """BundleError unless a bundle lies in this world and speaks of these features."""
    found = FeatureIdentity.of(manifest.features)
    difference = features.unlike(found)
    if difference is not None:
        raise BundleError(
            f"{where}: features of another network than the other tiles' (found {difference}); "
            f"map it again with the options of the others"
        )
    difference = _unlike(world, manifest.world)
    if difference is not None:
        raise BundleError(
            f"{where}: lies in another world than the other tiles (found {difference}); align it "
            f"with 'edge-reloc align --to-map'"
        )


def _unlike(world: World, other: World) -> str | None:
    """What shows that two maps lie in different worlds, in words; None where nothing does."""
    if other.metric != world.metric:
        return f"metric {str(other.metric).lower()}, expected {str(world.metric).lower()}"
    if other.georeference != world.georeference:
        return f"georeference {other.georeference}, expected {world.georeference}"
    if world.gravity is None or other.gravity is None:
        return None
    cosine = sum(a * b for a, b in zip(world.gravity, other.gravity, strict=True))
    angle = degrees(acos(min(max(cosine, -1.0), 1.0)))
    if angle > GRAVITY_DEG:
        return f"gravity {angle:.0f} degrees away, expected {GRAVITY_DEG:.0f} at most"
    return None


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
