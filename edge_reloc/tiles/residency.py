"""Which tiles should be in memory, and which of those a frame is looked for in.

Nothing here has a clock, a thread or a file: poses and what frames look like go in, rows of
tiles come out. Distances are world units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..arrays import F32, F64
from .index import Tile

SECOND_NS = 1_000_000_000
LOOK_AHEAD_S = 5.0  # what is flown in this time is loaded before, a tile's length at most
STEPS = 4  # places along that way that are looked at
LATER = 0.5  # what a tile at its end counts less, in tile sizes
#: with so much less of a pull towards it, another tile does not take one's place
MARGIN = 0.15
FAILED = 0.2  # what each look in vain takes from a tile
KEPT = 0.5  # of what earlier frames looked like, while there is no pose
FAR = 2.0  # most that distance takes from a tile, in the similarity of photos
SPEED_TILES_S = 0.1  # how fast a camera that is lost may be: a tile's length in ten seconds
FORGOTTEN_S = 30.0  # after which the last pose says nothing
BRIEF = 5  # frames without a pose after which the camera is searched for, and not just hidden
BRIEF_S = 1.0  # the same, in seconds since the last pose
THIN = 0.25  # bounds are at least so wide, of their widest: photos may lie on a line


class Page(NamedTuple):
    """A tile that is to be loaded, and the slot that it goes to."""

    tile: int
    slot: int


class Residency:
    """What is known of where the camera is, as tiles of a city.

    slots: tiles that fit into memory.
    """

    def __init__(self, tiles: Sequence[Tile], slots: int) -> None:
        low = np.array([tile.cameras_low for tile in tiles], np.float64)
        high = np.array([tile.cameras_high for tile in tiles], np.float64)
        half = (high - low) / 2
        self._middle = (high + low) / 2
        self._half = np.maximum(half, np.maximum(THIN * half.max(axis=1, keepdims=True), 1e-6))
        #: half the length of a usual tile
        self.scale = float(np.median(self._half.max(axis=1)))
        self._slots = slots
        self._left_out = np.zeros(len(tiles), bool)
        self._failed = np.zeros(len(tiles))  # looks in vain since the last pose
        self._looks: F32 | None = None  # similarity to each tile's photos, of late
        #: (3,) of the last pose, or as odometry carries it on
        self.place: F64 | None = None
        self._velocity: F64 = np.zeros(3)
        self._pose_ns = 0
        self._prior: tuple[F64, float] | None = None
        self._moved = 0.0  # that odometry told of since the last pose
        self._age_s = 0.0
        self._unseen = 0  # frames since the last pose
        #: whether the last frame had no pose
        self.is_lost = True

    @property
    def searches(self) -> bool:
        """Whether the camera may be anywhere: what is near the last pose no longer comes first."""
        old = self.place is None or self._unseen >= BRIEF or self._age_s > BRIEF_S
        return self.is_lost and old

    def cost(self, place: F64) -> F64:
        """(T,) how far a place is from each tile.

        Within, 0 in its middle to `scale` at its border; outside, `scale` and the distance.
        """
        away = np.abs(place - self._middle)
        outside = np.linalg.norm(np.maximum(away - self._half, 0.0), axis=1)
        return np.asarray(outside + self.scale * np.minimum((away / self._half).max(axis=1), 1.0))

    def seen(self, t_ns: int, place: F64) -> None:
        """A frame was localised at a place (3,)."""
        if self.place is not None and not self.is_lost:
            seconds = (t_ns - self._pose_ns) / SECOND_NS
            if 0 < seconds < 1:
                self._velocity = 0.8 * self._velocity + 0.2 * (place - self.place) / seconds
        else:
            self._velocity = np.zeros(3)
        self.place, self._pose_ns, self.is_lost = place, t_ns, False
        self._failed[:] = 0.0
        self._looks = self._prior = None
        self._moved = self._age_s = 0.0
        self._unseen = 0

    def unseen(self, t_ns: int, looks: F32 | None, place: F64 | None, *, alone: bool) -> None:
        """A frame was not localised.

        looks (T,): similarity to each tile's photos. place (3,): as odometry carries the last
        pose on. alone: it tells nothing of the frames to come.
        """
        self.is_lost = True
        self._unseen += 1
        if self.place is not None:
            self._age_s = abs(t_ns - self._pose_ns) / SECOND_NS
        if place is not None and self.place is not None:
            self._moved += float(np.linalg.norm(place - self.place))
            self.place, self._pose_ns = place, t_ns
        if looks is None:
            return
        if self._looks is None or alone:
            self._looks = looks
        else:
            self._looks = KEPT * self._looks + (1.0 - KEPT) * looks

    def near(self, place: F64, sigma: float) -> None:
        """The camera is about here, as GPS or odometry knows: (3,) and a standard deviation."""
        self._prior = (np.asarray(place, np.float64), sigma)

    def failed(self, tile: int) -> None:
        """A frame was looked for in a tile, in vain."""
        self._failed[tile] += 1.0

    def begin(self) -> None:
        """The next frame has nothing to do with those before it."""
        self._failed[:] = 0.0
        self._looks = self.place = None
        self._velocity = np.zeros(3)
        self.is_lost = True

    def leave_out(self, tile: int) -> None:
        """A tile that cannot be used."""
        self._left_out[tile] = True

    def pull(self) -> F64:
        """(T,) how much each tile is wanted, larger is more; -inf for one that is left out."""
        pull = self._pull_lost() if self.is_lost else self._pull_on_the_way()
        return np.where(self._left_out, -np.inf, pull)

    def _pull_on_the_way(self) -> F64:
        assert self.place is not None
        way = self._velocity * LOOK_AHEAD_S
        length = float(np.linalg.norm(way))
        if length > 2 * self.scale:
            way *= 2 * self.scale / length
        costs = [
            self.cost(self.place + way * (step / STEPS)) / self.scale + LATER * step / STEPS
            for step in range(STEPS + 1)
        ]
        return np.asarray(-np.min(costs, axis=0))

    def _pull_lost(self) -> F64:
        pull = -FAILED * self._failed
        if self._looks is not None:
            pull = pull + self._looks
        if self._prior is not None:
            place, reach = self._prior[0], 2 * self._prior[1]
        elif self.place is not None and self._age_s < FORGOTTEN_S:
            reach = 0.2 * self._moved + 2 * self.scale * SPEED_TILES_S * self._age_s
            place = self.place
        else:
            return pull
        far = np.maximum(self.cost(place) - reach, 0.0) / self.scale
        return np.asarray(pull - np.minimum(0.5 * far, FAR))

    def best(self, tiles: Sequence[int]) -> list[int]:
        """Those, the most wanted first."""
        pull = self.pull()
        return sorted(tiles, key=lambda tile: -pull[tile])

    def next_page(
        self,
        resident: Sequence[int | None],
        current: int | None,
        tried: Sequence[int] | None = None,
    ) -> Page | None:
        """The tile to be loaded next, in place of another; None where all is well.

        resident: tile of each slot. current: a tile that stays. tried: of a frame that waits,
        the tiles it was looked for in; any other is better.
        """
        if tried is None and self.is_lost and not self.searches:
            return None  # a hand before the lens: what is here will be needed again
        pull = self.pull()
        wanted = np.argsort(-pull, kind="stable")
        if tried is None:
            wanted = wanted[: self._slots]
        missing = [int(t) for t in wanted if t not in resident and np.isfinite(pull[t])]
        missing = [t for t in missing if tried is None or t not in tried]
        if not missing:
            return None
        tile = missing[0]
        if None in resident:
            return Page(tile, list(resident).index(None))
        pulls = {n: pull[t] for n, t in enumerate(resident) if t is not None and t != current}
        slot = min(pulls, key=lambda n: float(pulls[n]))
        if tried is None and pull[tile] < pulls[slot] + MARGIN:
            return None
        return Page(tile, slot)

    def untried(self, resident: Sequence[int | None]) -> bool:
        """Whether a tile that is not in memory may know where the camera is.

        After a look into each there is nothing that loading could still tell.
        """
        pull = self.pull()
        rest = [t for t in range(len(pull)) if t not in resident and np.isfinite(pull[t])]
        return any(self._failed[t] == 0.0 for t in rest)
