"""Class tokens of the mapping photos by an embedding network, made once and kept on disk."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F32
from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.layout import network_file
from edge_reloc.embedding.dinov2 import DinoV2Embedder
from edge_reloc.errors import MappingError, missing_package
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.sources.photo import read_photo, read_photo_file
from edge_reloc.structs import Features, Frame

from ..progress import open_bar
from ..scene.combine import PhotoStore
from ..scene.model import View

log = logging.getLogger(__name__)

_CAMERA = Camera(model="pinhole", width=16, height=16, fx=1, fy=1, cx=0, cy=0)  # nothing asks it


def read_token(path: Path) -> F32:
    """(E,) of a cache entry. Raises what numpy's reader does, and ValueError."""
    token = np.asarray(np.load(path, allow_pickle=False), np.float32)
    if token.ndim != 1 or not np.isfinite(token).all():
        raise ValueError(f"{token.shape}")
    return token


class ClassTokens:
    """Tokens (E,) by the runtime's own embedder, in colour and with the photo's heading.

    network: ONNX file. work: folder of the cache, whose entries are named after photo, heading
    and network, so that none is taken for another's.
    """

    def __init__(self, work: Path, network: Path) -> None:
        self.network = network
        self._stamp = hashlib.sha256(network.read_bytes()).hexdigest()
        self._folder = work / "tokens"
        self._opened: tuple[DinoV2Embedder, Features] | None = None

    def of_views(self, store: PhotoStore, views: Sequence[View]) -> F32:
        """(V,E), not of unit length; interrupted, what was made is kept."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tokens = []
        with open_bar(len(views), "embeddings", "photo") as bar:
            for view in views:
                tokens.append(self._token(store.photo(view.name), view.quarter_turns % 4))
                bar.update()
        return np.stack(tokens)

    def _token(self, photo: Path, turns: int) -> F32:
        key = hashlib.blake2b(read_photo_file(photo), digest_size=16)
        key.update(f"{turns} {self._stamp}".encode())
        path = self._folder / f"{key.hexdigest()}.npy"
        try:
            return read_token(path)
        except FileNotFoundError:
            pass
        except Exception:  # numpy's header parser raises unrelated classes
            log.warning("%s: damaged cache entry, embedded again", path.name)
        token = self._embed(photo, turns)
        stream = io.BytesIO()
        np.save(stream, token)
        write_atomic(path, stream.getvalue())
        return token

    def _embed(self, photo: Path, turns: int) -> F32:
        if self._opened is None:
            embedder = DinoV2Embedder(open_engine(self.network, Arena()))
            self._opened = embedder, Features(Arena(), 1, 1, embedder.dim)
        embedder, features = self._opened
        image = read_photo(photo, grey=False)
        frame = Frame(image=image, t_ns=0, camera=_CAMERA, quarter_turns=turns)
        embedder.embed(frame, features)
        return features.embedding.copy()


def network_of_embedding(bundle: MapBundle) -> str | None:
    """File of the network that embeds a map's photos; None where their features do."""
    embedding = bundle.manifest.embedding
    return None if embedding is None else embedding.network


def open_tokens(bundle: MapBundle, store: PhotoStore) -> ClassTokens | None:
    """Tokens of a map that is there; None where its photos' features embed them.

    Raises MappingError where the work folder has no longer the network.
    """
    file = network_of_embedding(bundle)
    if file is None:
        return None
    network = store.network(file)
    if not network.is_file():
        raise MappingError(
            f"{network}: the map's embedding network is not in its work folder; map again"
        )
    return ClassTokens(store.work, network)


def dinov2_tokens(weights: Path, work: Path) -> ClassTokens:
    """Tokens by DINOv2 of a published state dict, whose network is written under `work`.

    Raises EngineError for weights that do not fit.
    """
    try:
        from ..nets.dinov2 import SIDE_PX, export_dinov2, load_dinov2
    except ModuleNotFoundError as error:
        raise missing_package(error.name or "torch", "--embedding dinov2", "export") from None
    load_dinov2(weights)  # what is none is refused, also where its network is there
    stamp = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    network = work / network_file(f"dinov2_{SIDE_PX}_{stamp}")
    if not network.is_file():
        log.info("exporting dinov2 for photos of %dx%d", SIDE_PX, SIDE_PX)
        network.parent.mkdir(parents=True, exist_ok=True)
        export_dinov2(weights, network)
    return ClassTokens(work, network)
