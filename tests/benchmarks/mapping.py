"""Where the time of mapping goes: every stage's wall clock and processor time.

    python tests/benchmarks/mapping.py --images photos/ --trees . ../before -- --features waymark
    python tests/benchmarks/mapping.py --images out/walk500 --walk 500 --trees ../before .

`--walk` renders so many photos of a walk through the courtyard into a folder that is not there
yet; `--first` takes no more than so many of a folder, in the order of their names. What stands
behind `--` goes to `edge-reloc map`; each tree (a checkout of this project) maps the same photos
from nothing, one after the other, and the bundles are compared by the hashes of their files.
Processor time is that of the program and all processes that it started; less than the wall clock
times the cores is what stands idle.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: module, function or Class.method, what it does
STAGES = (
    ("photos.features", "FeatureStore.prepare", "features"),
    ("scene.headings", "turns_from_matches", "headings"),
    ("scene.pairs", "global_vectors", "choosing pairs"),
    ("scene.matching", "match_pairs", "matching"),
    ("scene.sfm_database", "write_database", "database"),
    ("scene.sfm_database", "verify", "verifying"),
    ("scene.sfm", "_reconstruct", "placing"),
    ("scene.triangulate", "triangulate", "triangulating"),
    ("scene.complete", "complete_tracks", "completing tracks"),
    ("scene.clean", "clean", "cleaning"),
    ("scene.grade", "grade_model", "grading"),
    ("packing.pack", "pack_map", "packing"),
    ("integrity.measure", "measure", "leaving out"),
    ("city.tile", "place_tile", "placing tiles"),
    ("city.tile", "map_tile", "tiles"),
    ("city.seams", "adjust_tiles", "seams"),
)


class Clock:
    """Exclusive time of nested stages, as [wall s, processor s] by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._open: list[str] = []
        self._last = self._now()

    def _now(self) -> list[float]:
        return [time.perf_counter(), processor_s(os.getpid())]

    def _charge(self) -> None:
        now = self._now()
        spent = self.spent.setdefault(self._open[-1] if self._open else "the rest", [0.0, 0.0])
        for k in range(2):
            spent[k] += now[k] - self._last[k]
        self._last = now

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._charge()
            self._open.append(name)
            try:
                return function(*arguments, **named)
            finally:
                self._charge()
                self._open.pop()

        return wrapped


def processor_s(root: int) -> float:
    """Of a process and of all that it started, as long as they live or were waited for."""
    tick = os.sysconf("SC_CLK_TCK")
    parent, spent = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parent[int(folder.name)] = int(fields[1])
            spent[int(folder.name)] = sum(int(f) for f in fields[11:15]) / tick
    total, young = 0.0, [root]
    while young:
        pid = young.pop()
        total += spent.get(pid, 0.0)
        young += [child for child, its in parent.items() if its == pid]
    return total


def run_here(report: Path, arguments: Sequence[str]) -> int:
    """`edge-reloc map` in this process with its stages timed; where they are still called so."""
    clock = Clock()
    for module, path, name in STAGES:
        with contextlib.suppress(ImportError, AttributeError):
            owner: Any = importlib.import_module(f"edge_reloc_export.{module}")
            *classes, function = path.split(".")
            for part in classes:
                owner = getattr(owner, part)
            old = getattr(owner, function)
            new = clock.timed(old, name)
            setattr(owner, function, new)
            for other in list(sys.modules.values()):  # where it was imported by name
                if getattr(other, "__name__", "").startswith("edge_reloc_export"):
                    for key, value in list(vars(other).items()):
                        if value is old:
                            setattr(other, key, new)
    from edge_reloc_export.map import main as map_main

    code = map_main(arguments)
    clock._charge()
    report.write_text(json.dumps(clock.spent))
    return code


def hashes(bundle: Path) -> str:
    """Of all files of a bundle, or of a map of tiles, but for their dates."""
    digest = hashlib.sha256()
    for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".json":
            told = json.loads(content)
            for key in ("created", "generator"):
                told.pop(key, None)
            content = json.dumps(told, sort_keys=True).encode()
        digest.update(str(path.relative_to(bundle)).encode() + content)
    return digest.hexdigest()[:16]


def render_walk(folder: Path, photos: int) -> None:
    """Photos of the courtyard, three at each station of a round; whole or not at all."""
    from edge_reloc_export.worlds.write import main as render

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        stations = ["--stations", str(-(-photos // 3)), "--frames", "4", "--texel-mm", "6"]
        assert render(["--output", made, *stations]) == 0
        for surplus in sorted(Path(made, "images").iterdir()):
            if surplus.name not in {f"map_{k:03d}.jpg" for k in range(photos)}:
                surplus.unlink()
        Path(made, "images").rename(folder)


def main() -> int:
    """Map with every tree and print the table."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, rest = sys.argv[1:split], sys.argv[split + 1 :]
    if sys.argv[1:2] == ["--here"]:
        return run_here(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--walk", type=int, metavar="N", help="render N photos into --images")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N photos")
    parser.add_argument("--trees", type=Path, nargs="+", default=[Path(__file__).parents[2]])
    options = parser.parse_args(own)
    if options.walk is not None and not options.images.is_dir():
        render_walk(options.images, options.walk)
    columns: dict[str, dict[str, list[float]]] = {}
    for tree in options.trees:
        tree = tree.resolve()
        with tempfile.TemporaryDirectory() as folder:
            output, report = Path(folder) / "map", Path(folder) / "times.json"
            photos = ["--images", str(options.images.resolve())]
            if options.first is not None:
                names = sorted(path.name for path in options.images.iterdir())[: options.first]
                (Path(folder) / "photos.txt").write_text("\n".join(names) + "\n")
                photos += ["--list", str(Path(folder) / "photos.txt")]
            arguments = [*photos, "--output", str(output), *rest]
            path = os.pathsep.join(
                [str(tree), str(tree / "tests/packages"), os.environ.get("PYTHONPATH", "")]
            )
            begun = time.perf_counter()
            done = subprocess.run(
                [sys.executable, __file__, "--here", str(report), *arguments],
                env={**os.environ, "PYTHONPATH": path},
                cwd=folder,
            )
            wall = time.perf_counter() - begun
            if done.returncode:
                return done.returncode
            spent = json.loads(report.read_text())
            spent["in all"] = [wall, sum(cpu for _, cpu in spent.values())]
            columns[str(tree)] = spent
            print(f"{tree}: bundle {hashes(output)}")
    names = list(dict.fromkeys(name for spent in columns.values() for name in spent))
    print(f"{'wall s / processor s':24}" + "".join(f"{Path(t).name:>22}" for t in columns))
    for name in sorted(names, key="in all".__eq__):
        row = [spent.get(name, [0.0, 0.0]) for spent in columns.values()]
        print(f"{name:24}" + "".join(f"{wall:13.1f} / {cpu:6.1f}" for wall, cpu in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
