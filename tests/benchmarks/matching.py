"""The matchers side by side: ours on the processor and plain numpy; on a GPU ours, torch, CuPy.

    python tests/benchmarks/matching.py
    python tests/benchmarks/matching.py --sizes 2000 20000 --dims 64 --gpu

Random unit vectors; half of the keypoints are noisy copies of map points. Times are medians
of --repeat calls, each with its results at hand. On the GPU the roofline is what a large
product and a large copy reach in the same run.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_reloc.bundle.points import PointMap
from edge_reloc.cuda.probe import find_gpu
from edge_reloc.matching.nearest import NearestMatcher
from edge_reloc.memory.arena import Arena
from edge_reloc.memory.threads import Workers
from edge_reloc.structs import Candidates, Correspondences, Features

KEYPOINTS = 2048
MIN_SIMILARITY, MAX_RATIO = 0.7, 0.95


@dataclass(frozen=True, kw_only=True)
class Case:
    points: PointMap
    features: Features
    candidates: Candidates

    @property
    def name(self) -> str:
        kind = self.points.descriptor.dtype.name
        return f"{self.points.n:7d} {self.points.dim:4d} {kind:8s}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 20000, 100000])
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--kinds", nargs="+", default=["float16", "int8"])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of both, on the processor")
    parser.add_argument("--frames", type=int, default=10_000, help="of the GPU's memory check")
    parser.add_argument("--gpu", action="store_true", help="only the GPU's rows")
    options = parser.parse_args()
    cases = [(n, d, k) for k in options.kinds for d in options.dims for n in options.sizes]
    if not options.gpu:
        on_cpu(cases, options)
    if find_gpu() is None:
        print("no CUDA device: the GPU's rows were not measured")
        return 0
    on_gpu(cases, options)
    return 0


def on_cpu(cases: list[tuple[int, int, str]], options: argparse.Namespace) -> None:
    print(f"{KEYPOINTS} keypoints on the processor, {options.threads} threads")
    print("candidates dim kind        numpy ms   MiB     ours ms   MiB   faster  matches  same")
    for size, dim, kind in cases:
        case = make(size, dim, kind)
        ours, out, memory = open_cpu(case, options.threads)
        tracemalloc.start()
        plain(case)
        plain_mib = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        ours()
        ours_mib = (tracemalloc.get_traced_memory()[1] - before + memory) / 2**20
        tracemalloc.stop()
        with Workers(options.threads)._libraries.limit(limits=options.threads):
            plain_ms = median_ms(lambda: plain(case), options.repeat)  # noqa: B023
        with Workers(options.threads).frame():
            ours_ms = median_ms(ours, options.repeat)
        expected = set(map(tuple, plain(case).tolist()))
        found = pairs_of(out)
        print(
            f"{case.name} {plain_ms:11.1f} {plain_mib:6.1f} {ours_ms:9.1f} {ours_mib:6.2f} "
            f"{plain_ms / ours_ms:7.1f}x {len(found):7d} "
            f"{len(found & expected) / len(expected):8.2%}",
            flush=True,
        )


def plain(case: Case) -> np.ndarray:
    """What anyone would write: the whole matrix, both ways. (M,2) keypoints and points."""
    queries, points = case.features.descriptor, case.points
    similarity = queries @ (points.descriptor.astype(np.float32) * np.float32(points.scale)).T
    best = similarity.argmax(axis=1)
    rows = np.arange(len(best))
    top = similarity[rows, best]
    keep = (similarity.max(axis=0)[best] == top) & (top >= MIN_SIMILARITY)
    similarity[rows, best] = -2
    second = similarity.max(axis=1)
    keep &= np.maximum(1 - top, 0) <= MAX_RATIO**2 * (1 - second)
    return np.stack([rows[keep], best[keep]], axis=1)


def open_cpu(case: Case, threads: int) -> tuple[Callable[[], None], Correspondences, int]:
    arena = Arena()
    out = Correspondences(Arena(), KEYPOINTS)
    matcher = NearestMatcher(
        case.points,
        arena,
        keypoints=KEYPOINTS,
        candidates=case.points.n,
        block=256,
        min_similarity=MIN_SIMILARITY,
        max_ratio=MAX_RATIO,
        workers=Workers(threads),
    )
    return lambda: matcher.match(case.features, case.candidates, out), out, arena.nbytes


def on_gpu(cases: list[tuple[int, int, str]], options: argparse.Namespace) -> None:
    from edge_reloc.inference.acceleration import open_gpu

    same_memory(make(20_000, 64, "float16"), open_gpu(), options.frames)
    libraries = {name: load() for name, load in (("torch", with_torch), ("cupy", with_cupy))}
    roofline = libraries["torch"](None) if libraries["torch"] else None
    name = find_gpu().name  # type: ignore[union-attr]
    print(f"{KEYPOINTS} keypoints on {name}")
    print("candidates dim kind     frame ms  kernels ms  torch ms  cupy ms  faster  roofline  same")
    for size, dim, kind in cases:
        case = make(size, dim, kind)
        gpu = open_gpu()
        kernels_ms, frame_ms, pairs = ours_on_gpu(case, gpu, options.repeat)
        gpu.close()
        others = {n: f(case) if f else None for n, f in libraries.items()}
        run, out, _ = open_cpu(case, 0)
        run()
        expected = pairs_of(out)
        known = [ms for ms in others.values() if ms]
        share = roofline_share(case, kernels_ms, roofline)
        print(
            f"{case.name} {frame_ms:9.3f} {kernels_ms:11.3f} {text(others['torch']):>9} "
            f"{text(others['cupy']):>8} {text(min(known) / kernels_ms if known else None):>6}x "
            f"{share:>8} {len(pairs & expected) / len(expected):8.2%}",
            flush=True,
        )


def open_on_gpu(case: Case, gpu: Any) -> tuple[Any, Correspondences]:
    """The matcher of a case, and where its matches go."""
    from edge_reloc.matching.nearest_cuda import CudaMatcher

    matcher = CudaMatcher(
        case.points,
        gpu,
        keypoints=KEYPOINTS,
        candidates=case.points.n,
        min_similarity=MIN_SIMILARITY,
        max_ratio=MAX_RATIO,
    )
    gpu.arena.seal()
    return matcher, Correspondences(Arena(), KEYPOINTS)


def pairs_of(out: Correspondences) -> set[tuple[int, int]]:
    """Keypoints and points that were matched."""
    return set(zip(out.keypoint[: out.n].tolist(), out.point_id[: out.n].tolist(), strict=True))


def same_memory(case: Case, gpu: Any, frames: int) -> None:
    """Match frame after frame; print what the device's free memory did."""
    matcher, out = open_on_gpu(case, gpu)
    matcher.match(case.features, case.candidates, out)
    before, matches = gpu.cuda.free_bytes(), out.n
    for _ in range(frames):
        matcher.match(case.features, case.candidates, out)
        assert out.n == matches
    change = before - gpu.cuda.free_bytes()
    print(f"{frames} frames: device memory grew by {change} bytes, {gpu.arena.nbytes} are ours")
    gpu.close()


def ours_on_gpu(case: Case, gpu: Any, repeat: int) -> tuple[float, float, set[tuple[int, int]]]:
    """Kernels alone by events, a whole frame by the clock, the matches."""
    matcher, out = open_on_gpu(case, gpu)
    frame_ms = median_ms(lambda: matcher.match(case.features, case.candidates, out), 5 * repeat)
    times = []
    start, end = gpu.cuda.create_event(), gpu.cuda.create_event()
    for _ in range(5 * repeat):
        gpu.cuda.record(start, gpu.stream)
        matcher._search()
        gpu.cuda.record(end, gpu.stream)
        gpu.synchronize()
        times.append(gpu.cuda.elapsed_ms(start, end))
    pairs = pairs_of(out)
    return float(np.median(times)), frame_ms, pairs


def with_torch() -> Callable[[Case | None], Any] | None:
    """Times torch's product and both searches of a case; without one, (FLOP/s, bytes/s)."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None

    def timed(ask: Callable[[], Any], repeat: int = 20) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        times = []
        for _ in range(repeat + 3):
            start.record()
            ask()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        return float(np.median(times[3:]))

    def run(case: Case | None) -> Any:
        if case is None:
            side = 8192
            a = torch.randn(side, side, device="cuda", dtype=torch.float16)
            block = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
            product, copy = timed(lambda: a @ a), timed(block.clone)
            return 2 * side**3 / product * 1e3, 2 * block.numel() / copy * 1e3
        query = torch.from_numpy(case.features.descriptor).cuda().half()
        stored = torch.from_numpy(np.array(case.points.descriptor)).cuda()
        ids = torch.from_numpy(case.candidates.point_id.astype(np.int64)).cuda()

        def search() -> Any:
            similarity = query @ (stored[ids].half() * case.points.scale).T
            return similarity.topk(2, dim=1), similarity.max(dim=0)

        return timed(search)

    return run


def with_cupy() -> Callable[[Case], float] | None:
    """Times the same by CuPy."""
    try:
        import cupy
    except ImportError:
        return None

    def run(case: Case) -> float:
        query = cupy.asarray(case.features.descriptor).astype(cupy.float16)
        stored = cupy.asarray(np.array(case.points.descriptor))
        ids = cupy.asarray(case.candidates.point_id)
        times = []
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        for _ in range(13):
            start.record()
            similarity = query @ (stored[ids].astype(cupy.float16) * case.points.scale).T
            best = similarity.argmax(axis=1)
            similarity.max(axis=0)
            similarity[cupy.arange(len(best)), best] = -2
            similarity.max(axis=1)
            end.record()
            end.synchronize()
            times.append(cupy.cuda.get_elapsed_time(start, end))
        return float(np.median(times[3:]))

    return run


def roofline_share(case: Case, ms: float, roofline: tuple[float, float] | None) -> str:
    """Of the time that the product, or reading everything once, would take at the least."""
    if roofline is None:
        return "-"
    flops, bandwidth = roofline
    kind = case.points.descriptor.dtype
    flops *= 2 if kind == np.int8 else 1
    n, c, dim = KEYPOINTS, case.points.n, case.points.dim
    least = max(2 * n * c * dim / flops, (n + c) * dim * kind.itemsize / bandwidth)
    return f"{1e3 * least / ms:.0%}"


def make(points: int, dim: int, kind: str) -> Case:
    generator = np.random.default_rng(0)
    descriptor = unit(generator.normal(size=(points, dim)))
    scale = 1.0
    stored: Any = descriptor.astype(np.float16)
    if kind == "int8":
        scale = float(np.abs(descriptor).max()) / 127
        stored = np.rint(descriptor / scale).astype(np.int8)
    point_map = PointMap(
        xyz=generator.normal(size=(points, 3)).astype(np.float32),
        descriptor=stored,
        cell_start=np.array([0, points], np.int32),
        cell_centre=np.zeros((1, 3), np.float32),
        cell_radius=np.ones(1, np.float32),
        scale=scale,
    )
    features = Features(Arena(), KEYPOINTS, dim, 0)
    features.n = KEYPOINTS
    queries = generator.normal(size=(KEYPOINTS, dim))
    copies = generator.choice(points, KEYPOINTS // 2, replace=False)
    noise = generator.normal(size=(len(copies), dim)) * 0.5 / np.sqrt(dim)
    queries[: len(copies)] = descriptor[copies] + noise
    features.descriptor[:] = unit(queries)
    candidates = Candidates(Arena(), points, KEYPOINTS)
    candidates.clear()
    candidates.n = points
    candidates.point_id[:] = np.arange(points)
    return Case(points=point_map, features=features, candidates=candidates)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def median_ms(ask: Callable[[], Any], repeat: int) -> float:
    ask()
    times = []
    for _ in range(repeat):
        start = time.perf_counter_ns()
        ask()
        times.append((time.perf_counter_ns() - start) * 1e-6)
    return float(np.median(times))


def text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
