"""Mutual nearest neighbours in descriptor space, on the GPU.

The map's descriptors lie in device memory; a frame sends the candidates' ids (nothing at
all where they are a run of neighbours) and gets one candidate and similarity a keypoint.
`NearestMatcher` is the reference: the answers are the same but for the rounding of
queries to the kind of number that the map stores.
"""

from __future__ import annotations

import numpy as np

from ..bundle.points import PointMap
from ..cuda.arena import Staged
from ..cuda.gpu import Gpu
from ..structs import Candidates, Correspondences, Features
from .matches import decision_threshold, one_group, write_matches

WARPS = 4
BLOCKS_A_MULTIPROCESSOR = 4  # that shared memory and registers allow for 64 float16
HEADER = 8  # words of the kernels' `Frame`
NO_RUN = -1


class CudaMatcher:
    """Mutual nearest neighbours with similarity and ratio thresholds.

    keypoints, candidates: at most. source: device address of descriptors
    (K,D) float32 that `Features.row` points into, as the feature network left them; 0
    sends the descriptors of each frame instead.
    """

    def __init__(
        self,
        points: PointMap,
        gpu: Gpu,
        *,
        keypoints: int,
        candidates: int,
        min_similarity: float,
        max_ratio: float,
        source: int = 0,
    ) -> None:
        self._points, self._gpu = points, gpu
        self._min_similarity, self._max_ratio = min_similarity, max_ratio
        self._keypoints, self._candidates = keypoints, max(candidates, 1)
        self._map = gpu.resident(points)
        wide = self._map.row_bytes > 256
        self._tiles, self._columns = (1, 32) if wide else (2, 64)
        self._rows = 16 * self._tiles * WARPS
        self._kernels = gpu.kernels("nearest.cu", self._defines())
        self._row_blocks = -(-keypoints // self._rows)
        padded = self._row_blocks * self._rows
        take = gpu.arena.take
        words = HEADER + 2 * keypoints + 2 * self._candidates
        self._input = gpu.arena.take_staged("match.input", (words,), np.int32)
        self._output = gpu.arena.take_staged("match.output", (2, keypoints), np.int32)
        self._query = take("match.query", padded * self._map.row_bytes)
        self._query_scale = take("match.query_scale", padded * 4)
        self._best_bytes = 12 * keypoints + 4 * self._candidates
        self._best = take("match.best", self._best_bytes)
        self._descriptor: Staged | None = None
        if not source:
            self._descriptor = gpu.arena.take_staged(
                "match.descriptor", (keypoints, points.dim), np.float32
            )
            source = self._descriptor.address
        self._source = source
        self._search = gpu.capture(self._enqueue)

    def match(self, features: Features, candidates: Candidates, out: Correspondences) -> None:
        """Fill the correspondences, best similarity first; set n."""
        out.n = 0
        n, c = features.n, candidates.n
        if n == 0 or c == 0:
            return
        used = self._write_input(features, candidates)
        self._gpu.arena.upload(self._input, self._gpu.stream, 4 * used)
        if self._descriptor is not None:
            self._descriptor.host[:n] = features.descriptor[:n]
            nbytes = n * self._points.dim * 4
            self._gpu.arena.upload(self._descriptor, self._gpu.stream, nbytes)
        self._search()
        self._gpu.arena.download(self._output, self._gpu.stream)
        self._gpu.synchronize()
        column = self._output.host[0, :n]
        rows = np.flatnonzero(column >= 0)
        similarity = self._output.host[1].view(np.float32)[rows]
        write_matches(self._points, features, candidates, rows, column[rows], similarity, out)

    def _write_input(self, features: Features, candidates: Candidates) -> int:
        """Frame, rows, ids, groups; how many words of them the device must see."""
        n, c, words = features.n, candidates.n, self._input.host
        ids = candidates.point_id[:c]
        run = int(ids[-1]) - int(ids[0]) == c - 1
        grouped = not one_group(features, candidates)
        words[:4] = n, c, ids[0] if run else NO_RUN, grouped
        words[4:HEADER].view(np.float32)[:] = (
            self._min_similarity,
            self._max_ratio**2,
            decision_threshold(self._min_similarity, self._max_ratio),
            self._points.scale,
        )
        rows, point_id, query_group, group = self._parts()
        words[rows : rows + n] = np.arange(n) if self._descriptor is not None else features.row[:n]
        if not run:
            words[point_id : point_id + c] = ids
        if grouped:
            words[query_group : query_group + n] = candidates.query_group[:n]
            words[group : group + c] = candidates.group[:c]
            return group + c
        return point_id if run else point_id + c

    def _parts(self) -> tuple[int, int, int, int]:
        """First words of rows, point ids, query groups and groups of the input."""
        ids = HEADER + self._keypoints
        query_group = ids + self._candidates
        return HEADER, ids, query_group, query_group + self._keypoints

    def _enqueue(self) -> None:
        """The kernels of one frame; all that changes from frame to frame is in the input."""
        u64 = np.uint64
        frame = self._input.address
        rows, point_id, query_group, group = (u64(frame + 4 * word) for word in self._parts())
        best = self._best
        second, of_candidate = best + 8 * self._keypoints, best + 12 * self._keypoints
        self._gpu.cuda.clear(best, self._best_bytes, self._gpu.stream)
        blocks = self._row_blocks * self._rows // WARPS
        self._kernels.launch(
            "encode",
            (blocks, 1),
            32 * WARPS,
            u64(frame),
            u64(self._source),
            rows,
            np.int32(self._points.dim),
            u64(self._query),
            u64(self._query_scale),
        )
        self._kernels.launch(
            "search",
            (self._row_blocks, self._parts_of_candidates()),
            32 * WARPS,
            u64(frame),
            u64(self._query),
            u64(self._query_scale),
            query_group,
            u64(self._map.address),
            point_id,
            group,
            u64(best),
            u64(second),
            u64(of_candidate),
        )
        output = self._output.address
        self._kernels.launch(
            "decide",
            (-(-self._keypoints // 128), 1),
            128,
            u64(frame),
            u64(best),
            u64(second),
            u64(of_candidate),
            u64(output),
            u64(output + 4 * self._keypoints),
        )

    def _parts_of_candidates(self) -> int:
        """Blocks that share the candidates of the same keypoints: enough to fill the device."""
        wanted = BLOCKS_A_MULTIPROCESSOR * self._gpu.cuda.info.multiprocessors
        stages = -(-self._candidates // self._columns)
        return max(min(wanted // self._row_blocks, stages), 1)

    def _defines(self) -> dict[str, int]:
        return {
            "ROW_BYTES": self._map.row_bytes,
            "INT8": int(self._map.int8),
            "WARPS": WARPS,
            "TILES": self._tiles,
            "COLUMNS": self._columns,
        }
