"""Thresholds, chosen on mapping photos that were left out, never on queries.

    python tests/benchmarks/selection.py maps/kitchen maps/herz_jesus ... --output selection.json

Of each map (MAP.work beside it) three neighbourhoods of 12, 30 and 50 % of the photos are left
out, one after the other, and their photos localised against the rest with one setting changed at
a time; features come from the work folder. A pose is right within 2 % of the distance to what the
photo looks at and 1 degree. Of each value: photos with a right pose that is OK, wrong poses that
are OK, and the median error over the same photos as a ratio to that of today's value.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from edge_reloc.bundle import open_bundle
from edge_reloc.files import write_atomic
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.inference.planned import PlannedEngines
from edge_reloc.localizer import Extracted, Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import assemble
from edge_reloc.pose import second_pass
from edge_reloc_export.integrity.leave_out import neighbourhoods, write_without
from edge_reloc_export.integrity.measure import (
    NO_IMAGE,
    RIGHT_DEG,
    distance_of,
    features_room,
    fill_features,
    right_within,
)
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.scene.combine import open_any_store
from edge_reloc_export.work_folder import work_folder

SHARES, NEIGHBOURHOODS, PHOTOS = (0.12, 0.3, 0.5), 3, 12
#: what is tried beside the value in force
TRIED: dict[str, tuple[float, ...]] = {
    "threshold_px": (4.0, 6.0, 8.0, 12.0),
    "min_similarity": (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.82),
    "min_coverage": (0.5, 0.6, 0.7, 0.8, 0.9),
    "min_inlier_ratio": (0.0, 0.02, 0.04, 0.1),
    "WIDE": (1.2, 1.8, 2.4, 3.6),
    "SIMILARITY_CONCEDED": (0.0, 0.06, 0.12, 0.18),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--first-pass", action="store_true", help="without the second one")
    parser.add_argument("--only", help="one setting")
    parser.add_argument("--output", type=Path, help="JSON of every error, and for going on")
    options = parser.parse_args()
    tried = {n: v for n, v in TRIED.items() if options.only in (None, n)}
    found: dict[str, Any] = {}
    if options.output is not None and options.output.is_file():
        found = json.loads(options.output.read_text())
    for bundle in options.maps:
        name = bundle.name
        if name not in found:
            found[name] = errors_of(bundle, tried, second=not options.first_pass)
            if options.output is not None:
                write_atomic(options.output, json.dumps(found))
        report(name, found[name])
    return 0


def errors_of(bundle: Path, tried: dict[str, tuple[float, ...]], *, second: bool) -> dict[str, Any]:
    """By `setting=value`, of every photo its error over what is right; None where it is not OK."""
    model = load_packed(work_folder(bundle), open_bundle(bundle))
    store = open_any_store(work_folder(bundle))
    found: dict[str, list[float | None]] = {}
    with TemporaryDirectory() as scratch:
        folds = [
            rows
            for share in SHARES
            for rows in neighbourhoods(model.views, model.xyz, NEIGHBOURHOODS, share)
        ]
        for rows in folds:
            write_without(model, bundle, rows, Path(scratch) / "map")
            rest = open_bundle(Path(scratch) / "map")
            some = rows[np.linspace(0, len(rows) - 1, min(PHOTOS, len(rows))).astype(int)]
            for label, changed in [("as it is", {}), *_changes(tried)]:
                errors = found.setdefault(label, [])
                errors += _localised(
                    rest, model, store, [model.views[n] for n in some], changed, second
                )
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return found


def _changes(tried: dict[str, tuple[float, ...]]) -> Iterator[tuple[str, dict[str, float]]]:
    for name, values in tried.items():
        yield from ((f"{name}={value:g}", {name: value}) for value in values)


def _localised(
    bundle: Any, model: Any, store: Any, views: Any, changed: dict[str, float], second: bool
) -> list[float | None]:
    own = {name: value for name, value in changed.items() if name.islower()}
    settings = Settings(
        method="image_retrieval",
        second_pass=second,
        calibration_check=False,
        threads=1,
        **own,
    )
    features, errors = features_room(bundle.manifest), []
    with ExitStack() as stack:
        for name in changed.keys() - own.keys():
            stack.enter_context(patch.object(second_pass, name, changed[name]))
        localizers: dict[Any, Localizer] = {}
        for view in views:
            camera = view.camera
            if camera not in localizers:
                line = assemble(bundle, camera, settings, PlannedEngines(bundle, Arena()))
                localizers[camera] = stack.enter_context(Localizer(line))
            fill_features(features, store.get(view.name))
            shot = Extracted(frame=NO_IMAGE, camera=camera, features=features, laps={})
            pose = localizers[camera].locate(shot).cam_from_world
            if pose is None:
                errors.append(None)
                continue
            error, allowed = (
                pose_error(pose, view.cam_from_world),
                right_within(distance_of(model, view)),
            )
            errors.append(max(error.translation / allowed, error.rotation_deg / RIGHT_DEG))
    return errors


def report(name: str, found: dict[str, list[float | None]]) -> None:
    """A line for each value."""
    now = _errors(found["as it is"])
    print(f"{name}: {len(now)} photos left out\n{'':28}right  wrong  median  to now's")
    for label, values in found.items():
        errors = _errors(values)
        right, wrong = int((errors <= 1).sum()), int(((errors > 1) & np.isfinite(errors)).sum())
        both = np.isfinite(errors) & np.isfinite(now)
        ratio = np.exp(np.median(np.log(errors[both] / now[both])))
        print(f"{label:28}{right:5d}  {wrong:5d}  {np.median(errors):6.3f}  {ratio:8.3f}")


def _errors(values: list[float | None]) -> Any:
    return np.array([np.inf if value is None else max(value, 1e-6) for value in values])


if __name__ == "__main__":
    sys.exit(main())
