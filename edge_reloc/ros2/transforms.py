"""The tree of frames that /tf and /tf_static tell, at any time of the last seconds."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from operator import itemgetter
from typing import Any

import numpy as np

from ..arrays import F64
from ..geometry.rigid import compose, invert, rotation_between
from .messages import matrix_of, stamp_of

KEPT_NS = 10_000_000_000
DEEPEST = 64  # of the tree: a circle is no tree


class Transforms:
    """Takes TFMessages from one thread and is asked from another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: by child: its parent, and when it was where, in order; None: always
        self._moving: dict[str, tuple[str, deque[tuple[int, F64]]]] = {}
        self._fixed: dict[str, tuple[str, F64]] = {}

    def add(self, message: Any, *, fixed: bool = False) -> None:
        """A tf2_msgs/TFMessage; fixed: of /tf_static. What is no transform is left out."""
        for stamped in message.transforms:
            parent, child = (
                name.lstrip("/") for name in (stamped.header.frame_id, stamped.child_frame_id)
            )
            try:
                parent_from_child = matrix_of(stamped.transform)
            except ValueError:
                continue
            with self._lock:
                if fixed:
                    self._fixed[child] = parent, parent_from_child
                else:
                    self._move(stamp_of(stamped.header), parent, child, parent_from_child)

    def _move(self, t_ns: int, parent: str, child: str, parent_from_child: F64) -> None:
        before = self._moving.get(child)
        times = before[1] if before is not None and before[0] == parent else deque()
        if times and t_ns <= times[-1][0]:
            if times[-1][0] - t_ns < KEPT_NS:  # told twice, or late
                return
            times.clear()  # a bag that begins anew
        times.append((t_ns, parent_from_child))
        while times[0][0] < t_ns - KEPT_NS:
            times.popleft()
        self._moving[child] = parent, times

    def lookup(self, target: str, source: str, t_ns: int) -> F64 | None:
        """(4,4) target from source at a time; None where it is not known (yet)."""
        with self._lock:
            above_target = self._to_root(target, t_ns)
            above_source = self._to_root(source, t_ns)
        for frame, frame_from_source in above_source.items():
            if frame in above_target:
                return invert(above_target[frame]) @ frame_from_source
        return None

    def _to_root(self, frame: str, t_ns: int) -> dict[str, F64]:
        """This frame and all above it, each with its (4,4) from this one, as far as is known."""
        ancestor_from_frame: F64 = np.eye(4)
        found = {frame: ancestor_from_frame}
        while len(found) < DEEPEST:
            step = self._fixed.get(frame) or self._at(frame, t_ns)
            if step is None or step[0] in found:
                break
            frame = step[0]
            ancestor_from_frame = step[1] @ ancestor_from_frame
            found[frame] = ancestor_from_frame
        return found

    def _at(self, child: str, t_ns: int) -> tuple[str, F64] | None:
        """Parent and (4,4) parent from child, between the two times around it."""
        if child not in self._moving:
            return None
        parent, times = self._moving[child]
        after = bisect_left(times, t_ns, key=itemgetter(0))
        if after == len(times) or (after == 0 and times[0][0] != t_ns):
            return None
        t1_ns, second = times[after]
        if t1_ns == t_ns:
            return parent, second
        t0_ns, first = times[after - 1]
        share = (t_ns - t0_ns) / (t1_ns - t0_ns)
        rotation = rotation_between(first[:3, :3], second[:3, :3], share)
        return parent, compose(rotation, (1 - share) * first[:3, 3] + share * second[:3, 3])
