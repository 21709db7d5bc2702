"""Features of the mapping photos, extracted once and kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32
from edge_reloc.bundle.fields import read_fields
from edge_reloc.embedding.place import pool
from edge_reloc.errors import MappingError, SourceError
from edge_reloc.features import FeatureSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.engine import Engine
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.sources.photo import read_photo, read_photo_file
from edge_reloc.stages import Extractor
from edge_reloc.structs import Features, Frame

from ..cluster.executor import Executor
from ..cluster.units import Unit, finish
from ..kept_files import DamagedError, check, read_arrays, read_object
from ..progress import open_bar

log = logging.getLogger(__name__)

CACHE_VERSION = 2  # raise when what an entry means changes: old entries are then never read
PHOTOS_IN_MEMORY = 256  # 2048 x 128 float16: 0.5 MB a photo
PHOTOS_PER_UNIT = 16  # a second or two


class UnreadablePhotoError(MappingError):
    """A photo cannot be used; it is skipped and listed, the map goes on."""


@dataclass(frozen=True, kw_only=True)
class PhotoFeatures:
    """The N keypoints of one photo, best score first, in pixels of the photo."""

    xy_px: F32  #: (N,2)
    score: F32  #: (N,)
    descriptor: NDArray[np.float16]  #: (N,D) of unit length
    width: int  #: of the photo, pixels
    height: int
    #: (G,h,w), what the network sees at about 1/32 of the photo as it lies
    place: NDArray[np.float16] | None = None

    def pooled_place(self, low: F32 | None = None, high: F32 | None = None) -> F32 | None:
        """Place vector (G,) of the whole photo or of the part between two pixels (2,)."""
        if self.place is None:
            return None
        _, rows, columns = self.place.shape
        per_px = np.array([columns / self.width, rows / self.height])
        x0, y0 = (0, 0) if low is None else np.floor(low * per_px).astype(int).clip(min=0)
        x1, y1 = (columns, rows) if high is None else np.ceil(high * per_px).astype(int)
        return pool(self.place[:, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])


class FeatureStore:
    """Features by photo name, from the runtime's own extractor.

    images: folder of the photos. work: folder of the cache. An entry is keyed
    by the photo's content, the feature settings and the quarter turns, so a
    changed photo or setting is never answered from an old entry. `turns` maps
    photo names to quarter turns (0 when absent). others: folders of the photos that came
    later, named `key/photo`. cache: work folder whose features, matches and networks are used,
    as by the tiles of one map (default: work itself).
    workers: who extracts and matches what many photos need; None for this process alone.
    A store that is pickled arrives without workers, and works on one thread.
    """

    def __init__(
        self,
        work: Path,
        spec: FeatureSpec,
        locate: Callable[[str], Path] | None = None,
        *,
        images: Path,
        turns: Mapping[str, int] | None = None,
        others: Mapping[str, Path] | None = None,
        cache: Path | None = None,
        workers: Executor | None = None,
        threads: int = 0,
    ) -> None:
        self.work, self.spec, self.images = Path(work), spec, Path(images)
        self.others = dict(others or {})
        self.turns: dict[str, int] = dict(turns or {})
        self.cache, self.workers, self._threads = Path(cache or work), workers, threads
        self._locate = locate or (lambda name: self.cache / name)
        self._folder = self.cache / "features"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._recent: OrderedDict[tuple[str, int], PhotoFeatures] = OrderedDict()
        self._digests: dict[str, str] = {}
        self._extractor: tuple[tuple[int, int], Extractor, Features] | None = None

    def get(self, name: str) -> PhotoFeatures:
        """Features of one photo; UnreadablePhotoError when it is no photo."""
        return self.get_turned(name, self.turns.get(name, 0))

    def get_turned(self, name: str, turns: int) -> PhotoFeatures:
        """The same after `turns` counter-clockwise quarter turns."""
        key = (name, turns % 4)
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        path = self._entry(name, key[1])
        found = _load(path)
        if found is None:
            found = self._extract(name, key[1])
            _save(path, found)
        self._recent[key] = found
        while len(self._recent) > PHOTOS_IN_MEMORY:
            self._recent.popitem(last=False)
        return found

    def prepare(self, names: Iterable[str], *, progress: bool = True) -> list[str]:
        """Extract whatever is missing; the names that can be used, in order.

        Interrupt it at will: finished photos are kept. Unreadable photos are
        logged, one line each. MappingError when none is left.
        """
        names = list(names)
        if self.workers is not None:
            self._extract_elsewhere(self.workers, names, progress)
            progress = False
        usable, first = [], ""
        bar = open_bar(len(names), "features", "photo", shown=progress)
        for name in names:
            bar.update()
            try:
                self.get(name)
            except UnreadablePhotoError as error:
                log.warning("skipped: %s", error)
                first = first or str(error)
                continue
            usable.append(name)
        bar.close()
        if not usable:
            raise MappingError(
                f"{self.images}: none of {len(names)} photos can be read; first: {first}"
            )
        return usable

    def copies(self, names: Iterable[str]) -> dict[str, str]:
        """Names whose file is, byte for byte, that of an earlier name, and that name."""
        first: dict[str, str] = {}
        copies = {}
        for name in names:
            digest = self._digest(name)
            if digest in first:
                copies[name] = first[digest]
            first.setdefault(digest, name)
        return copies

    def with_spec(self, spec: FeatureSpec) -> FeatureStore:
        """The same photos and turns under other settings."""
        return FeatureStore(
            self.work,
            spec,
            self._locate,
            images=self.images,
            turns=dict(self.turns),
            others=self.others,
            cache=self.cache,
            workers=self.workers,
        )

    def in_folder(self, work: Path) -> FeatureStore:
        """The same photos and settings for a map of some of them, which has a folder of its own."""
        turns, cache = dict(self.turns), self.cache
        return FeatureStore(
            work, self.spec, images=self.images, turns=turns, others=self.others, cache=cache
        )

    def photo(self, name: str) -> Path:
        """Where the photo itself lies."""
        folder, _, rest = name.partition("/")
        return self.others[folder] / rest if folder in self.others else self.images / name

    def network(self, file: str) -> Path:
        """A feature network by the file name in the spec."""
        return self._locate(file)

    def save(self) -> None:
        """Note images, spec and turns in the work folder, for `open_store`."""
        values = {
            "images": str(self.images.resolve()),
            "spec": self.spec.to_dict(),
            "turns": {name: k for name, k in self.turns.items() if k},
            **({} if self.cache == self.work else {"cache": str(self.cache.resolve())}),
        }
        if self.others:
            values["others"] = {key: str(path) for key, path in self.others.items()}
        write_atomic(self.work / "store.json", json.dumps(values, indent=1) + "\n")

    def key(self, name: str) -> str:
        """What the features of a photo depend on, as a hash."""
        return self._entry(name, self.turns.get(name, 0)).stem

    def _entry(self, name: str, turns: int) -> Path:
        spec = self.spec
        identity = [CACHE_VERSION, self._digest(name), turns, spec.kind, spec.dim, spec.keypoints]
        if spec.kind == "sift":
            identity += [spec.max_side]
        else:
            identity += [spec.weights_sha256, sorted((n.width, n.height) for n in spec.networks)]
            identity += [spec.place_dim] if spec.place_dim else []
        key = hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()
        return self._folder / f"{key}.npz"

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            try:
                content = read_photo_file(self.photo(name))
            except SourceError as error:
                raise UnreadablePhotoError(str(error)) from None
            self._digests[name] = hashlib.blake2b(content, digest_size=16).hexdigest()
        return self._digests[name]

    def _open_network(self, file: str, arena: Arena) -> Engine:
        return open_engine(self.network(file), arena, threads=self._threads)

    def _extract_elsewhere(self, workers: Executor, names: Sequence[str], progress: bool) -> None:
        """Have workers extract what is missing; photos that cannot be read stay missing."""
        missing = []
        for name in names:
            with contextlib.suppress(UnreadablePhotoError):
                if not self._entry(name, self.turns.get(name, 0)).is_file():
                    missing.append(name)
        units = [
            Unit(run=extract, arguments=(self, shard), size=len(shard))
            for start in range(0, len(missing), PHOTOS_PER_UNIT)
            for shard in [missing[start : start + PHOTOS_PER_UNIT]]
        ]
        done = len(names) - len(missing)
        finish(workers, units, "features", "photo", done=done, progress=progress)

    def __reduce__(self) -> tuple[object, ...]:
        turns = {name: k for name, k in self.turns.items() if k}
        return _opened, (self.work, self.spec, self.images, turns, self.others, self.cache)

    def _extract(self, name: str, turns: int) -> PhotoFeatures:
        try:
            image = read_photo(self.photo(name), grey=False)
        except SourceError as error:
            raise UnreadablePhotoError(str(error)) from None
        height, width = image.shape[:2]
        size = (height, width) if turns % 2 else (width, height)
        camera = Camera(model="pinhole", width=size[0], height=size[1], fx=1, fy=1, cx=0, cy=0)
        if self._extractor is None or self._extractor[0] != size:
            arena = Arena()
            out = Features(arena, self.spec.keypoints, self.spec.dim, 0, self.spec.place_dim)
            open_network = partial(self._open_network, arena=arena)
            self._extractor = (size, open_extractor(self.spec, camera, open_network), out)
        _, extractor, out = self._extractor
        extractor.extract(
            Frame(image=image, t_ns=0, camera=camera, name=name, quarter_turns=turns), out
        )
        place = getattr(extractor, "place_map", None)
        if place is not None:  # as the photo lies, not as it was turned
            place = np.rot90(place, -turns, axes=(1, 2)).astype(np.float16)
        return PhotoFeatures(
            place=place,
            xy_px=out.xy_px[: out.n].copy(),
            score=out.score[: out.n].copy(),
            descriptor=out.descriptor[: out.n].astype(np.float16),
            width=width,
            height=height,
        )


def extract(store: FeatureStore, names: Sequence[str]) -> None:
    """A unit of work: the features of some photos, into the cache."""
    for name in names:
        with contextlib.suppress(UnreadablePhotoError):  # told of by whoever asked
            store.get(name)


def _opened(
    work: Path,
    spec: FeatureSpec,
    images: Path,
    turns: dict[str, int],
    others: dict[str, Path],
    cache: Path,
) -> FeatureStore:
    return FeatureStore(
        work, spec, images=images, turns=turns, others=others, cache=cache, threads=1
    )


def open_store(work: Path) -> FeatureStore:
    """The store that `edge-reloc map` left in a work folder."""
    path = Path(work) / "store.json"
    try:
        values = read_object(path)
        return FeatureStore(
            Path(work),
            read_fields(FeatureSpec, values["spec"], str(path)),
            images=Path(values["images"]),
            turns={str(name): int(turn) for name, turn in values["turns"].items()},
            others={key: Path(path) for key, path in values.get("others", {}).items()},
            cache=Path(values["cache"]) if "cache" in values else None,
        )
    except FileNotFoundError:
        raise MappingError(f"{path}: not a mapping work folder; run 'edge-reloc map'") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MappingError(f"{path}: damaged ({error!r}); remove it and map again") from error


def turned(spec: FeatureSpec, turns: Mapping[str, int]) -> FeatureSpec:
    """The spec with `turns` saying whether any photo was turned."""
    return replace(spec, turns=any(k % 4 for k in turns.values()))


def _save(path: Path, features: PhotoFeatures) -> None:
    stream = io.BytesIO()
    np.savez(
        stream,
        xy_px=features.xy_px,
        score=features.score,
        descriptor=features.descriptor,
        size=np.array([features.width, features.height]),
        place=np.zeros(0, np.float16) if features.place is None else features.place,
    )
    write_atomic(path, stream.getvalue())


def _load(path: Path) -> PhotoFeatures | None:
    try:
        data = read_arrays(path)
        check(path, data, {"xy_px": "N2", "score": "N", "descriptor": "ND", "size": "2"})
        if (place := data.get("place")) is not None and place.size:
            check(path, data, {"place": "GHW"})
        width, height = data["size"].tolist()
    except FileNotFoundError:
        return None
    except DamagedError:
        log.warning("%s: damaged cache entry, extracted again", path.name)
        return None
    return PhotoFeatures(
        xy_px=data["xy_px"],
        score=data["score"],
        descriptor=data["descriptor"],
        width=int(width),
        height=int(height),
        place=place if place is not None and place.size else None,
    )
