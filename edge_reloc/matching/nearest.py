"""Mutual nearest neighbours in descriptor space, on the CPU, in blocks.

One matrix product serves both directions: a row's best candidate is kept
while blocks of candidates pass by, and a candidate's best similarity is the
maximum of its column, which is whole within its block. Similarities that can decide
no match are seen once, by a comparison; few keypoints have others in a block, and only
theirs are searched. Memory is one block, shared by the threads, each of which takes some
of the keypoints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..bundle.points import PointMap
from ..memory.arena import Arena
from ..memory.threads import Workers
from ..structs import Candidates, Correspondences, Features
from .matches import decision_threshold, one_group, write_matches

CROWDED = 4  # similarities a keypoint that may decide something: then all are searched
MULTIPLICATIONS_A_THREAD = 1 << 23  # multiplications that pay for waking another thread


class NearestMatcher:
    """Mutual nearest neighbours with similarity and ratio thresholds.

    block: candidates a product, which takes keypoints x block x 4 bytes.
    min_similarity: cosine that a match must reach. max_ratio: largest
    distance to the best over distance to the second best candidate; 1
    switches the test off. workers: threads that share the work, one by default.
    """

    def __init__(
        self,
        points: PointMap,
        arena: Arena,
        *,
        keypoints: int,
        candidates: int,
        block: int,
        min_similarity: float,
        max_ratio: float,
        workers: Workers | None = None,
    ) -> None:
        self._workers = workers or Workers()
        threads = self._workers.count
        self._points = points
        self._min_similarity = min_similarity
        self._max_ratio = max_ratio
        dim = points.dim
        self._size = block = min(block, max(candidates, 1))
        self._gathered = arena.take(
            "match.gathered", (threads, block, dim), points.descriptor.dtype
        )
        self._block = arena.take("match.block", (threads, block, dim), np.float32)
        self._similarity = arena.take("match.similarity", (keypoints * block,), np.float32)
        self._decides = arena.take("match.decides", (keypoints * block,), np.bool_)
        self._best = arena.take("match.best", (keypoints,), np.float32)
        self._second = arena.take("match.second", (keypoints,), np.float32)
        self._column = arena.take("match.column", (keypoints,), np.int32)
        self._best_of_candidate = arena.take(
            "match.best_of_candidate", (threads, candidates), np.float32
        )

    def match(self, features: Features, candidates: Candidates, out: Correspondences) -> None:
        """Fill the correspondences, best similarity first; set n."""
        out.n = 0
        n, c = features.n, candidates.n
        if n == 0 or c == 0:
            return
        if one_group(features, candidates):
            self._search(features.descriptor[:n], candidates.point_id[:c])
            rows = self._accept(n, c)
            columns: NDArray[np.integer] = self._column[rows]
            scores = self._best[rows]
        else:
            rows, columns, scores = self._match_groups(features, candidates)
        write_matches(self._points, features, candidates, rows, columns, scores, out)

    def _match_groups(
        self, features: Features, candidates: Candidates
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        rows, columns, scores = [], [], []
        groups = candidates.group[: candidates.n]
        query_groups = candidates.query_group[: features.n]
        for group in np.unique(groups):
            keypoints = np.flatnonzero(query_groups == group)
            members = np.flatnonzero(groups == group)
            if len(keypoints) == 0:
                continue
            self._search(features.descriptor[keypoints], candidates.point_id[members])
            accepted = self._accept(len(keypoints), len(members))
            rows.append(keypoints[accepted])
            columns.append(members[self._column[accepted]])
            scores.append(self._best[accepted].copy())
        if not rows:
            empty = np.zeros(0, np.intp)
            return empty, empty, np.zeros(0, np.float32)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(scores)

    def _search(self, descriptor: NDArray[np.float32], point_id: NDArray[np.int32]) -> None:
        """Best, second best and column of every row; best of every column."""
        n, c = len(descriptor), len(point_id)
        work = n * c * self._points.dim
        threads = min(self._workers.count, n, max(work // MULTIPLICATIONS_A_THREAD, 1))
        rows = [n * k // threads for k in range(threads + 1)]

        def search(thread: int) -> None:
            self._search_rows(thread, rows[thread], rows[thread + 1], descriptor, point_id)

        self._workers.each(search, threads)
        of_threads = self._best_of_candidate[:threads, :c]
        of_threads.max(axis=0, out=of_threads[0])

    def _search_rows(
        self,
        thread: int,
        first: int,
        end: int,
        descriptor: NDArray[np.float32],
        point_id: NDArray[np.int32],
    ) -> None:
        """The same for the rows from first to end, in the thread's own memory."""
        n, c = end - first, len(point_id)
        best, second = self._best[first:end], self._second[first:end]
        column = self._column[first:end]
        best[:] = second[:] = -2.0
        column[:] = 0
        place = self._similarity[first * self._size : end * self._size]
        decides = self._decides[first * self._size : end * self._size]
        least = np.float32(decision_threshold(self._min_similarity, self._max_ratio))
        for start in range(0, c, self._size):
            ids = point_id[start : start + self._size]
            size = len(ids)
            block = self._block[thread, :size]
            if ids[-1] - ids[0] == size - 1:  # a run of neighbours: no gather
                stored = self._points.descriptor[ids[0] : ids[0] + size]
            else:
                stored = self._gathered[thread, :size]
                np.take(self._points.descriptor, ids, axis=0, out=stored, mode="clip")
            self._points.decode(stored, block)
            similarity = place[: n * size].reshape(n, size)
            np.matmul(descriptor[first:end], block.T, out=similarity)
            np.greater_equal(place[: n * size], least, out=decides[: n * size])
            rows = _rows_with(decides[: n * size], n, size)
            of_candidate = self._best_of_candidate[thread, start : start + size]
            if len(rows) == 0:
                of_candidate[:] = -2.0
                continue
            if len(rows) < n:
                similarity = similarity[rows]
            similarity.max(axis=0, out=of_candidate)
            here = np.arange(len(rows))
            argmax = similarity.argmax(axis=1)
            block_best, best_before = similarity[here, argmax], best[rows]
            if self._max_ratio < 1.0:
                similarity[here, argmax] = -2.0
                lesser = np.maximum(similarity.max(axis=1), np.minimum(best_before, block_best))
                second[rows] = np.maximum(second[rows], lesser)
            better = block_best > best_before
            best[rows[better]] = block_best[better]
            column[rows[better]] = argmax[better] + start

    def _accept(self, n: int, c: int) -> NDArray[np.intp]:
        """Rows whose best is mutual, similar enough and distinct enough."""
        best = self._best[:n]
        accepted = best >= np.maximum(
            self._best_of_candidate[0, self._column[:n]], self._min_similarity
        )
        if self._max_ratio < 1.0:
            distance2 = np.maximum(1.0 - best, 0.0)
            accepted &= distance2 <= self._max_ratio**2 * (1.0 - self._second[:n])
        return np.flatnonzero(accepted)


def _rows_with(decides: NDArray[np.bool_], n: int, size: int) -> NDArray[np.intp]:
    """Rows of the (n * size) flags that have any set; all of them when many are."""
    if np.count_nonzero(decides) > CROWDED * n:
        return np.arange(n)
    rows = np.flatnonzero(decides) // size
    return rows[np.flatnonzero(np.diff(rows, prepend=-1))]
