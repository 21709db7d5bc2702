"""The memory of a localiser, known before any of it is taken, and held to a budget."""

from __future__ import annotations

import contextlib
import importlib
import logging
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2

from ..bundle.layout import DESCRIPTORS, PLACES
from ..bundle.reader import MapBundle
from ..errors import ConfigError
from ..geometry.camera import Camera
from ..inference.engines import Engines
from ..inference.planned import PlannedEngines, PlannedTensorRtEngines
from ..memory.arena import Arena
from ..memory.process import read_memory
from ..memory.threads import Workers
from ..methods import Settings
from ..methods.assemble import Line, plan_line
from ..stages import Extractor
from ..tiles.slot_plan import TilesPlan, plan_tiles
from ..tiles.tiled_bundle import TiledBundle

log = logging.getLogger(__name__)

MIB = 1 << 20
# ONNX Runtime keeps a repacked copy of most weights beside the file's own.
WEIGHT_COPIES = 2.0
# Of the values that live between layers at once, what the engine's pool comes to: its pieces
# do not fit together, and convolutions pad channels to the processor's vectors. The demo's
# networks take at most 2.15 times where vectors hold 8 numbers, Waymark 2.6 where they hold 16.
ACTIVATION_SHARE, WIDE_ACTIVATION_SHARE = 2.2, 2.75
CPU_AVX_512F = 13  # of OpenCV's CpuFeatures
# The following were measured on the demo as differences of /proc/self/smaps, 320 frames.
# Pages of libraries' code that are first touched after their import: ONNX Runtime's 10 MB,
# OpenCV's 3.6, numpy's and its BLAS's 4; 17.4 to 19.1 together.
CODE_BYTES = 19 * MIB
# Graphs, and the file that is read while weights are unpacked: at most 4.7 MB, one session
# or two, since the second begins in what the first gave back.
ENGINE_BYTES = 5 * MIB
# Modules, and temporaries of numpy, OpenCV and the k-d tree: at most 7.3 MB, and 3 more
# in a fresh checkout, whose sources are compiled in this very process; less `features`.
PYTHON_BYTES = 6 * MIB
THREAD_BYTES = 384 << 10  # its stacks in every engine and in matching: 0.3 MB
IN_FLIGHT_BYTES = 3 * MIB  # what the C library keeps for one more thread that allocates: 2.6 MB
# Of a tile in memory, and of one that is being opened beside: its graph, its manifest, and what
# its stages make of its arrays outside the arena.
TILE_BYTES = 3 * MIB
# What can be lowered, in the order of what it costs least, and how far.
MATCH_BLOCKS = (256, 128, 64)
FEWEST_TILES = 2  # one that frames are in, one that is loaded ahead
CANDIDATE_SHARES = (0.75, 0.5, 0.35, 0.25)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the plan. kind: what it is, in a word; name: whose."""

    kind: str
    name: str
    nbytes: int


Rows = tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory of one localiser in bytes.

    rows: all that is planned of the host. arena_bytes: of the one mapping, which is exact;
    the others are upper bounds (weights, activations, borrowed) or exact (map files, which
    are mapped, and shared between processes that use the same map). device_rows: of the
    GPU. one_memory: the host's and the GPU's are the same, as on a Jetson, and count
    together.
    """

    rows: tuple[Row, ...]
    arena_bytes: int
    device_rows: tuple[Row, ...] = ()
    one_memory: bool = False

    @property
    def nbytes(self) -> int:
        """In all, of the host's memory."""
        return sum(row.nbytes for row in self.rows) + self.device_bytes * self.one_memory

    @property
    def device_bytes(self) -> int:
        """Of the GPU's."""
        return sum(row.nbytes for row in self.device_rows)

    @property
    def of_a_further_one(self) -> Rows:
        """What another localiser of this map takes again in the same process.

        Files are mapped once, and engines of the process have one pool, if they take turns.
        """
        once = {"map", "descriptors", "activations", "code of libraries", "modules and temporaries"}
        return tuple(row for row in self.rows if not {row.kind, row.name} & once)

    def by_kind(self) -> dict[str, int]:
        """Sums, in the order of the rows."""
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[row.kind] = sums.get(row.kind, 0) + row.nbytes
        if self.device_rows and self.one_memory:
            sums["GPU"] = self.device_bytes
        return sums

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "rows": [asdict(r) for r in self.rows],
            "nbytes": self.nbytes,
            "device_rows": [asdict(r) for r in self.device_rows],
            "device_nbytes": self.device_bytes,
            "one_memory": self.one_memory,
        }

    def to_text(self) -> str:
        """A table for people."""
        lines = [f"{kind:<12} {nbytes / MIB:9.2f} MiB" for kind, nbytes in self.by_kind().items()]
        lines.append(f"{'total':<12} {self.nbytes / MIB:9.2f} MiB")
        if self.device_rows and not self.one_memory:
            lines.append(f"{'of the GPU':<12} {self.device_bytes / MIB:9.2f} MiB")
        return "\n".join(lines)


def plan_footprint(
    bundle: MapBundle, camera: Camera, settings: Settings, others: Rows = ()
) -> Footprint:
    """What a localiser with these settings will take. Takes next to nothing itself.

    others: what is planned beside it, such as a recorder.

    The line is put together with engines that know only their sizes, so that the plan and
    the real one cannot differ.
    """
    if isinstance(bundle, TiledBundle):
        return _tiles_footprint(plan_tiles(bundle, camera, settings), others)
    line = plan_line(bundle, camera, settings)
    gpu = line.gpu
    rows = [
        *_engine_rows(line.engines),
        *_map_rows(line.bundle),
        *_arena_rows(line.arena),
        *_process_rows(line.extractor, line.workers, len(line.slots)),
    ]
    if gpu is not None and gpu.arena.pinned_bytes:
        rows.append(Row(kind="I/O", name="pinned for the GPU", nbytes=gpu.arena.pinned_bytes))
    return Footprint(
        rows=(*rows, *others),
        arena_bytes=line.arena.nbytes,
        device_rows=tuple(_device_rows(line)),
        one_memory=gpu is not None and gpu.cuda.info.integrated,
    )


def _tiles_footprint(plan: TilesPlan, others: Rows) -> Footprint:
    """Of a map of tiles: its front, and slots as large as the largest tile."""
    slots, front = plan.slots, plan.front
    slot, heads = plan.largest("arena"), int(WEIGHT_COPIES * plan.largest("weights"))
    rows = [
        *_engine_rows(plan.front_engines),
        *_arena_rows(plan.front_arena),
        *(Row(kind="tiles", name=f"slot {n + 1}", nbytes=slot) for n in range(slots)),
        *(Row(kind="weights", name=f"heads in slot {n + 1}", nbytes=heads) for n in range(slots)),
        # One more than is there: a tile's networks are tried while frames go on in another.
        Row(kind="activations", name="heads", nbytes=2 * plan.largest("activations")),
        # Not "map": the slots of a further localiser may hold other tiles.
        Row(kind="large files", name="mapped", nbytes=slots * plan.largest("mapped")),
        Row(kind="map", name=PLACES, nbytes=plan.places),
        Row(kind="borrowed", name="tiles", nbytes=TILE_BYTES * (slots + 1)),
        *_process_rows(front.extractor, front.workers, len(front.slots)),
    ]
    arena = plan.front_arena.nbytes + slots * slot
    return Footprint(rows=(*rows, *others), arena_bytes=arena)


def _process_rows(extractor: Extractor, workers: Workers, in_flight: int) -> list[Row]:
    """What libraries and threads take, whatever the map is."""
    rows = [
        Row(kind="borrowed", name="features", nbytes=extractor.borrowed_bytes),
        Row(kind="borrowed", name="code of libraries", nbytes=CODE_BYTES),
        Row(kind="borrowed", name="modules and temporaries", nbytes=PYTHON_BYTES),
        Row(kind="borrowed", name="threads", nbytes=THREAD_BYTES * workers.count),
    ]
    if in_flight == 2:
        rows.append(Row(kind="borrowed", name="a frame in flight", nbytes=IN_FLIGHT_BYTES))
    return rows


def check_budget(
    bundle: MapBundle,
    camera: Camera,
    settings: Settings,
    budget_bytes: int,
    others: Rows = (),
    held_bytes: int | None = None,
) -> Footprint:
    """The plan, when it fits with what the process holds already.

    held_bytes: that, where `others` took some of it since; None to measure it. ConfigError,
    with the table and what to lower, when it does not fit.
    """
    plan = plan_footprint(bundle, camera, settings, others)
    held = libraries_bytes() if held_bytes is None else held_bytes
    room = budget_bytes - held - sum(row.nbytes for row in others)
    if plan.nbytes + held <= budget_bytes:
        return plan
    table = "; ".join(f"{kind} {nbytes / MIB:.1f}" for kind, nbytes in plan.by_kind().items())
    raise ConfigError(
        f"--budget {budget_bytes / MIB:.0f}MiB: {(plan.nbytes + held) / MIB:.1f} MiB are planned "
        f"(libraries {held / MIB:.1f}; {table}), {(plan.nbytes + held - budget_bytes) / MIB:.1f} "
        f"too many; {_advice(bundle, camera, settings, room)}"
        + (
            "; --record-memory lowers what the recorder keeps"
            if any(row.kind == "recorder" for row in others)
            else ""
        )
    )


def fit_budget(
    bundle: MapBundle, camera: Camera, settings: Settings, budget_bytes: int, others: Rows = ()
) -> tuple[Settings, Footprint, str]:
    """Settings that fit, their plan, and what was lowered in words ("" for nothing).

    ConfigError, as `check_budget`, when nothing helps.
    """
    room = budget_bytes - libraries_bytes()
    for lowered, words in _smaller(bundle, camera, settings):
        plan = plan_footprint(bundle, camera, lowered, others)
        if plan.nbytes <= room:
            return lowered, plan, words
    return settings, check_budget(bundle, camera, settings, budget_bytes, others), ""


def libraries_bytes() -> int:
    """What this process holds before a map is opened: Python and its libraries.

    The engine's and the k-d tree's are loaded for this, where they are installed: they
    would be with the map, and are large.
    """
    for library in ("onnxruntime", "pykdtree.kdtree"):
        with contextlib.suppress(ImportError):  # whoever needs it says so
            importlib.import_module(library)
    return read_memory().rss_bytes or 0


def _smaller(
    bundle: MapBundle, camera: Camera, settings: Settings
) -> Iterator[tuple[Settings, str]]:
    """The settings as they are, then smaller ones, the cheapest loss first."""
    yield settings, ""
    words = ""
    if isinstance(bundle, TiledBundle):
        for tiles in range(settings.resident_tiles - 1, FEWEST_TILES - 1, -1):
            words = f"{tiles} tiles in memory instead of {settings.resident_tiles}: less is ahead"
            yield replace(settings, resident_tiles=tiles), words
        settings = replace(settings, resident_tiles=min(settings.resident_tiles, FEWEST_TILES))
    block = settings.match_block
    for smaller in MATCH_BLOCKS:
        if smaller < block:
            lowered = replace(settings, match_block=smaller)
            cost = f"matching in blocks of {smaller} instead of {block}: somewhat slower"
            yield lowered, "; ".join(filter(None, (words, cost)))
    settings = replace(settings, match_block=min(block, MATCH_BLOCKS[-1]))
    full = _candidates(bundle, camera, settings)
    for share in CANDIDATE_SHARES:
        candidates = max(int(share * full), 16)
        yield (
            replace(settings, candidates=candidates),
            f"{words + ', ' if words else ''}matching in blocks of {settings.match_block}, and "
            f"{candidates} candidates a frame instead of {full}: fewer visible points are found",
        )


def _candidates(bundle: MapBundle, camera: Camera, settings: Settings) -> int:
    """Of a frame at most."""
    if isinstance(bundle, TiledBundle):
        return plan_tiles(bundle, camera, settings).largest("candidates")
    return plan_line(bundle, camera, settings).candidates.capacity


def _advice(bundle: MapBundle, camera: Camera, settings: Settings, room: int) -> str:
    """Which limit to lower, and to what."""
    for lowered, _ in _smaller(bundle, camera, settings):
        if plan_footprint(bundle, camera, lowered).nbytes <= room:
            changes = []
            if lowered.resident_tiles != settings.resident_tiles:
                changes.append(f"--resident-tiles {lowered.resident_tiles}")
            if lowered.match_block != settings.match_block:
                changes.append(f"--match-block {lowered.match_block}")
            if lowered.candidates != settings.candidates:
                changes.append(f"--candidates {lowered.candidates}")
            return f"lower it with {' '.join(changes)}, or let --fit do that"
    least = plan_footprint(bundle, camera, lowered).nbytes
    return f"no limit can be lowered that far: the least is {(least - room) / MIB:.1f} MiB over"


def _device_rows(line: Line) -> list[Row]:
    if line.gpu is None:
        return []
    rows = [Row(kind="device", name=e.name, nbytes=e.nbytes) for e in line.gpu.arena.ledger]
    if isinstance(line.engines, PlannedTensorRtEngines):
        for name, nbytes in line.engines.weights.items():
            rows.append(Row(kind="weights", name=name, nbytes=nbytes))
    gaps = line.gpu.arena.nbytes - sum(e.nbytes for e in line.gpu.arena.ledger)
    return [*rows, Row(kind="device", name="alignment", nbytes=gaps)]


def _engine_rows(engines: Engines) -> list[Row]:
    if not isinstance(engines, PlannedEngines):  # on the GPU
        return []
    rows = []
    for path, header in engines.headers.items():
        nbytes = int(WEIGHT_COPIES * header.weight_bytes)
        rows.append(Row(kind="weights", name=path.stem, nbytes=nbytes))
    # Engines run one after the other in one pool of scratch, in which the largest finds
    # little that fits of what smaller ones left there.
    sizes = {p.stem: h.activation_bytes or 0 for p, h in engines.headers.items()}
    largest = max(sizes, key=lambda name: sizes[name], default="")
    for name, nbytes in sizes.items():
        planned = int(_activation_share() * nbytes) if name == largest else nbytes
        rows.append(Row(kind="activations", name=name, nbytes=planned))
    if sizes:
        rows.append(Row(kind="borrowed", name="engine", nbytes=ENGINE_BYTES))
    return rows


def _activation_share() -> float:
    """By the width of the vectors that convolutions use on this processor."""
    narrow = platform.machine() in ("x86_64", "AMD64")
    if narrow and not cv2.checkHardwareSupport(CPU_AVX_512F):
        return ACTIVATION_SHARE
    return WIDE_ACTIVATION_SHARE


def _map_rows(bundle: MapBundle) -> list[Row]:
    rows = []
    for name in sorted(bundle.used):
        if not name.endswith(".onnx"):
            kind = "descriptors" if name == DESCRIPTORS else "map"
            rows.append(Row(kind=kind, name=name, nbytes=bundle.manifest.files[name].nbytes))
    return rows


def _arena_rows(arena: Arena) -> list[Row]:
    kinds = {"engine": "I/O", "match": "scratch"}
    rows = [
        Row(kind=kinds.get(e.name.split(".")[0], "buffers"), name=e.name, nbytes=e.nbytes)
        for e in arena.ledger
    ]
    rows.sort(key=lambda row: row.kind)
    gaps = arena.nbytes - sum(e.nbytes for e in arena.ledger)
    return [*rows, Row(kind="buffers", name="alignment", nbytes=gaps)]
