"""Localises frames in a city: in the tile at hand, with the next ones brought in beside it.

Features are found once a frame. All tiles share what is remembered between frames, since they
lie in one world: a switch from one to the next is no event for tracking or for those who watch
over the poses.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..arrays import F32, F64, I32, finite_numbers
from ..bundle.layout import CELL_CENTRE
from ..bundle.reader import MapBundle
from ..errors import BundleError
from ..geometry.rigid import FARTHEST, camera_centre, invert
from ..inference.engines import Engines
from ..localizer import Extracted, Localizer
from ..methods.assemble import Line
from ..methods.table import Settings
from ..pose.plausibility import unless_unlikely
from ..structs import Features, Frame, PoseEstimate, Status
from .coarse_retrieval import Places
from .index import Tile
from .pager import Loaded, Pager
from .residency import Page, Residency
from .slot import Slot
from .tiled_bundle import TiledBundle

log = logging.getLogger(__name__)

ATTEMPTS = 2  # tiles that a frame is looked for in
MOST_WAITED = 8  # tiles that a frame waits for, one after the other
BETTER = 0.5  # of the last frame's inliers, that a tile must reach to take over
CLEARLY = 0.25  # how much better a place lies in another tile before that is tried, in tile sizes
PATIENCE = 30  # frames after which a tile that did not take over is tried again
MOST_SHOWN = 50_000  # points of pictures


class TiledLocalizer(Localizer):
    """A localiser whose line is that of the tile at hand; `edge_reloc.open` makes one.

    Everything of `Localizer` holds. A frame that no tile in memory knows has the status
    NOT_LOADED while another one is being brought in. left_out: tiles that cannot be used.
    """

    def __init__(
        self,
        bundle: TiledBundle,
        slots: list[Slot],
        pager: Pager,
        places: Places | None,
        front_engines: Engines,
        settings: Settings,
        left_out: Sequence[int] = (),
    ) -> None:
        line = next(slot.line for slot in slots if slot.line is not None)
        super().__init__(line)
        self.bundle: MapBundle = bundle
        self.points = None
        self.recogniser = None
        self.settings = replace(settings, method=line.settings.method)
        self._tiled, self._slots, self._pager, self._places = bundle.tiled, slots, pager, places
        self._front_engines = front_engines
        self._residency = Residency(bundle.tiled.tiles, len(slots))
        for tile in left_out:
            self._residency.leave_out(tile)
        self._current: int | None = None
        self._patience = 0  # frames until another tile is tried again
        self._inliers = 0  # of the last pose
        self._odometry: F64 | None = None  # world from odometry, as of the last pose

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles of the map."""
        return self._tiled.tiles

    @property
    def resident(self) -> tuple[str, ...]:
        """Names of the tiles in memory."""
        tiles = self._tiled.tiles
        return tuple(tiles[slot.tile].name for slot in self._slots if slot.tile is not None)

    @property
    def tile(self) -> str | None:
        """Name of the tile that the last pose is from; None before there was one."""
        return None if self._current is None else self._tiled.tiles[self._current].name

    @property
    def loading(self) -> bool:
        """Whether a tile is being brought in."""
        return self._pager.busy

    @property
    def loaded(self) -> int:
        """Tiles that were brought into memory so far, each time counted."""
        return self._pager.count

    def near(self, position: F64, sigma: float) -> None:
        """Tell where the camera is about, as GPS or odometry knows it.

        position (3,), sigma: world units. While no pose is known, tiles near it are tried first.
        What is no place, such as nan of a receiver without a fix, tells nothing.
        """
        known = finite_numbers(position, (3,))
        if known is not None and np.abs(known).max() <= FARTHEST and 0 <= sigma <= FARTHEST:
            self._residency.near(known, sigma)

    def predict(self, t_ns: int, cam_from_world: F64, covariance: F64) -> None:
        """As `Localizer.predict`; it also tells which tiles are near."""
        super().predict(t_ns, cam_from_world, covariance)
        if self._residency.is_lost:
            sigma = float(np.sqrt(max(np.linalg.eigvalsh(covariance[3:, 3:])[-1], 0.0)))
            self._residency.near(camera_centre(cam_from_world), sigma)

    def _locate(self, extracted: Extracted) -> PoseEstimate:
        frame, features = extracted.frame, extracted.features
        waits = self._waits(frame)
        self._turn_pages(waits)
        estimate = self._search(extracted, self._order(all_of_them=waits), [])
        if estimate.cam_from_world is None and estimate.status is not Status.NO_FEATURES:
            looks = None if self._places is None else self._places.similarity(features.place)
            self._residency.unseen(frame.t_ns, looks, self._carried(frame), alone=waits)
            estimate = self._wait(extracted, estimate) if waits else self._truthfully(estimate)
        return estimate

    def _waits(self, frame: Frame) -> bool:
        """Whether this frame has the time to wait for tiles."""
        asked = self.settings.wait_for_tiles
        return frame.received_ns is None if asked is None else asked

    def _turn_pages(self, waits: bool) -> None:
        """Between two frames: take in the tile that was loaded, and have the next one loaded."""
        residency = self._residency
        self._take_in(self._pager.poll(wait=waits))
        if waits and residency.is_lost:
            residency.begin()
        elif not self._pager.busy:
            staying = None if residency.is_lost else self._current
            page = residency.next_page(self._tiles(), staying)
            if page is not None:
                self._request(page, waits=waits)

    def _request(self, page: Page, *, waits: bool) -> None:
        self._pager.request(page.slot, page.tile)
        if waits:
            self._take_in(self._pager.poll(wait=True))

    def _take_in(self, done: Loaded | None) -> None:
        if done is None:
            return
        if done.error is None:
            self._slots[done.slot].tile = done.tile
        else:
            self._residency.leave_out(done.tile)

    def _tiles(self) -> list[int | None]:
        """Tile of each slot."""
        return [slot.tile for slot in self._slots]

    def _order(self, *, all_of_them: bool) -> list[int]:
        """Tiles in memory to look in, the likeliest first."""
        here = self._residency.best([tile for tile in self._tiles() if tile is not None])
        current = self._current
        if not self._residency.is_lost and current in here:
            here.remove(current)
            challenger = self._challenger(current, here)
            if challenger is None:
                here.insert(0, current)
            else:
                here.remove(challenger)
                here = [challenger, current, *here]
        return here if all_of_them else here[:ATTEMPTS]

    def _challenger(self, current: int, others: list[int]) -> int | None:
        """Another tile that the last place lies in clearly better."""
        self._patience = max(self._patience - 1, 0)
        place = self._residency.place
        if place is None or self._patience or not others:
            return None
        cost = self._residency.cost(place)
        best = min(others, key=lambda tile: float(cost[tile]))
        margin = CLEARLY * self._residency.scale
        return best if cost[best] + margin < cost[current] else None

    def _search(self, extracted: Extracted, tiles: list[int], tried: list[int]) -> PoseEstimate:
        """The frame in one tile after the other, until one is believed.

        tried: grows by the tiles that were looked in. What tracking remembers is the same for
        each of them, and nothing when all fail.
        """
        tracker = self._line.tracker
        remembered = None if tracker is None else tracker.recall()
        laps, estimate = dict(extracted.laps), self._none_here(extracted)
        for tile in tiles:
            if tracker is not None and remembered is not None:
                tracker.resume(remembered)
            self._use(tile)
            features = _with_embedding(extracted.features, self._line)
            estimate = super()._locate(replace(extracted, features=features, laps={}))
            tried.append(tile)
            for stage, ms in estimate.stages_ms.items():
                laps[stage] = laps.get(stage, 0.0) + ms
            if self._believes(tile, estimate, tried):
                self._settle_in(tile, extracted.frame, estimate)
                return replace(estimate, stages_ms=laps)
            if estimate.status is Status.NO_FEATURES:  # nor would they be enough elsewhere
                return replace(estimate, stages_ms=laps)
            self._residency.failed(tile)
        self.search_next()  # nor is a pose verified that no tile was believed
        estimate = unless_unlikely(estimate, self.settings.min_p_right)
        if estimate.cam_from_world is not None:  # a challenger that found less than was there
            estimate = estimate.refused("too few matches for the tile that it was found in")
        return replace(estimate, stages_ms=laps)

    def _believes(self, tile: int, estimate: PoseEstimate, tried: list[int]) -> bool:
        """Whether a tile's pose is the frame's."""
        unlikely = estimate.p_right is not None and estimate.p_right < self.settings.min_p_right
        if estimate.cam_from_world is None or unlikely:
            believed = False
        elif self._residency.is_lost or tile == self._current or self._current in tried:
            return True
        else:
            believed = estimate.inliers >= BETTER * self._inliers
        if not believed and not self._residency.is_lost and tile != self._current:
            self._patience = PATIENCE
        return believed

    def _settle_in(self, tile: int, frame: Frame, estimate: PoseEstimate) -> None:
        """A frame was localised in a tile."""
        if tile != self._current:
            log.info("frame %d: tile '%s'", estimate.index, self._tiled.tiles[tile].name)
        self._current = tile
        self._inliers = estimate.inliers
        assert estimate.cam_from_world is not None
        world_from_cam = invert(estimate.cam_from_world)
        self._residency.seen(frame.t_ns, world_from_cam[:3, 3])
        self._odometry = None
        if (odometry := frame.odometry) is not None:
            self._odometry = world_from_cam @ invert(odometry)

    def _carried(self, frame: Frame) -> F64 | None:
        """Where the camera is by odometry since the last pose, (3,) in the world."""
        odometry = frame.odometry
        if self._odometry is None or odometry is None:
            return None
        return np.asarray((self._odometry @ odometry)[:3, 3])

    def _wait(self, extracted: Extracted, estimate: PoseEstimate) -> PoseEstimate:
        """The frame in the tiles that it may show, each brought in for it."""
        tried = [tile for tile in self._tiles() if tile is not None]
        for _ in range(MOST_WAITED):
            page = self._residency.next_page(self._tiles(), None, tried)
            if page is None:
                break
            self._request(page, waits=True)
            if self._slots[page.slot].tile is None:
                self._work.candidates.n = self._work.matches.n = 0  # they may have lain there
                continue  # damaged, and left out
            waited = replace(extracted, laps=estimate.stages_ms)
            estimate = self._search(waited, [page.tile], tried)
            if estimate.cam_from_world is not None:
                break
        return estimate

    def _truthfully(self, estimate: PoseEstimate) -> PoseEstimate:
        """That the map does not know an image is said when all of it was asked."""
        searches = self._residency.searches or self._pager.busy
        if not searches or not self._residency.untried(self._tiles()):
            return estimate
        return replace(
            estimate,
            status=Status.NOT_LOADED,
            reason=f"no tile in memory ({', '.join(self.resident) or 'none'}) knows this image; "
            f"the others are being loaded, one at a time",
        )

    def _none_here(self, extracted: Extracted) -> PoseEstimate:
        """The answer of no tile at all."""
        self._work.begin(extracted.features, extracted.laps)
        nothing = PoseEstimate(t_ns=0, status=Status.NO_MATCHES, reason="no tile is in memory")
        return self._answer(extracted.frame, nothing)

    def _use(self, tile: int) -> None:
        """Go on with the line of a tile in memory, and its buffers."""
        slot = next(slot for slot in self._slots if slot.tile == tile)
        assert slot.line is not None and slot.matches is not None
        slot.line.bundle.check_unchanged()
        if slot.line is not self._line:
            for other in self._slots:  # guided matching exchanges buffers with its line
                if other.tile is not None and other.line is self._line:
                    other.matches = self._work.matches
            self._line = slot.line
            self._work.candidates, self._work.matches = slot.line.candidates, slot.matches

    @cached_property
    def overview(self) -> F32:
        """(N,3) where there are points, thinned out, for pictures."""
        centres = []
        for tile in self._tiled.tiles:
            with contextlib.suppress(BundleError):  # said when it is its turn to be loaded
                centres.append(np.asarray(self._tiled.open_tile(tile).array(CELL_CENTRE)))
        every = np.concatenate(centres)
        return np.asarray(every[:: 1 + len(every) // MOST_SHOWN])

    @property
    def point_labels(self) -> I32 | None:
        """None: landmarks are numbered by each tile for itself."""
        return None

    @property
    def arena_bytes(self) -> int:
        """Of the front and of all slots, taken before the first frame."""
        arenas = [self._front_engines.arena, *(slot.arena for slot in self._slots)]
        return sum(arena.capacity_bytes or arena.nbytes for arena in arenas)

    @property
    def map_bytes(self) -> int:
        """Size of the files of the tiles in memory that are used."""
        used = (slot.line.bundle for slot in self._slots if slot.tile is not None and slot.line)
        return sum(bundle.nbytes(bundle.used) for bundle in used)

    def close(self) -> None:
        """Give engines and threads back."""
        self._pager.close()
        for slot in self._slots:
            slot.clear()
        self._front_engines.close()
        self.workers.close()


def _with_embedding(features: Features, line: Line) -> Features:
    """The same features with room for the image embedding of this tile."""
    if line.embedder is None:
        return features
    own = copy.copy(features)
    own.embedding = features.embedding[: line.embedder.dim]
    return own
