"""What each preset leaves of a reconstruction, and that it is a map like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_reloc.bundle import layout, open_bundle
from edge_reloc.bundle.points import open_points
from edge_reloc_export.packing.pack import pack_map
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.packing.presets import FULL, PRESETS
from tests.mapping_world import make_world, model_of

POINTS = 400
LENGTH_TOLERANCE = 0.01  # of unit vectors as int8


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_its_share(name: str, tmp_path: Path) -> None:
    world, preset = make_world(tmp_path / "work", points=POINTS), PRESETS[name]
    (tmp_path / "work").mkdir(exist_ok=True)
    model = preset.applied(model_of(world))
    spec = world.store.spec
    pack_map(model, world.store, spec, tmp_path / "map", name=name, int8=preset.int8)  # type: ignore[arg-type]
    bundle = open_bundle(tmp_path / "map", verify=True)
    points = open_points(bundle)
    assert points.n == round(preset.keep * POINTS)
    assert points.descriptor.dtype == (np.int8 if preset.int8 else np.float16)
    decoded = points.decode(points.descriptor, np.empty((points.n, points.dim), np.float32))
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1.0, atol=LENGTH_TOLERANCE)
    assert bundle.array(layout.CELL_OBSERVERS).shape == (points.cells, 5)
    load_packed(tmp_path / "work", bundle)  # so that it can be trained


def test_the_default_is_all_of_it(tmp_path: Path) -> None:
    model = model_of(make_world(tmp_path, points=POINTS))
    assert PRESETS[FULL].applied(model) is model and not PRESETS[FULL].int8


def test_smaller_is_smaller(tmp_path: Path) -> None:
    model = model_of(make_world(tmp_path, points=POINTS))
    kept = [len(PRESETS[name].applied(model).xyz) for name in (FULL, "standard", "tiny")]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == len(kept)
