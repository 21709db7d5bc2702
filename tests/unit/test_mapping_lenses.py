"""Which photos share a camera, and who is believed about its focal length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ground_world import CAMERA, make_ground

from edge_reloc.errors import MappingError
from edge_reloc_export.photos.exif import PhotoFacts
from edge_reloc_export.scene.lenses import GUESS, Lens, find_lenses, settle

SIZE = (640, 480)
WIDE, TELE = 4.2, 9.0  # mm


def fact(
    name: str, focal_mm: float, focal_px: float, sigma: float = 0.1, source: str = "EXIF 35 mm"
) -> PhotoFacts:
    return PhotoFacts(
        name=name,
        width=640,
        height=480,
        model="Phone",
        focal_mm=focal_mm,
        focal_px=focal_px,
        focal_sigma=sigma,
        focal_source=source,
    )


def test_photos_of_one_size_share_a_camera_only_at_one_zoom() -> None:
    facts = {f.name: f for f in (fact("a", WIDE, 500), fact("b", TELE, 1000), fact("c", WIDE, 510))}
    lenses = find_lenses(["a", "b", "c"], [SIZE] * 3, facts, None)
    assert [lens.photos for lens in lenses] == [(0, 2), (1,)]
    assert [lens.focal_px for lens in lenses] == [505, 1000]


def test_a_photo_without_exif_joins_the_only_lens_of_its_size() -> None:
    facts = {"a": fact("a", WIDE, 500)}
    assert len(find_lenses(["a", "b"], [SIZE] * 2, facts, None)) == 1
    facts["c"] = fact("c", TELE, 1000)
    lenses = find_lenses(["a", "b", "c"], [SIZE] * 3, facts, None)
    assert [lens.source for lens in lenses] == ["EXIF 35 mm", GUESS, "EXIF 35 mm"]
    assert len(find_lenses(["a", "b"], [SIZE, (480, 640)], facts, None)) == 2


def test_the_best_source_among_the_photos_of_a_lens_counts() -> None:
    rough = fact("a", WIDE, 543)
    exact = fact("b", WIDE, 599, sigma=0.02, source="camera table")
    (lens,) = find_lenses(["a", "b"], [SIZE] * 2, {"a": rough, "b": exact}, None)
    assert (lens.focal_px, lens.relative_std) == (599, 0.02)


def test_a_given_camera_is_kept_and_must_fit() -> None:
    (lens,) = find_lenses(["a"], [(320, 240)], {}, CAMERA)
    assert lens.given is not None and lens.focal_px == CAMERA.fx / 2
    with pytest.raises(MappingError, match=r"^--camera: "):
        find_lenses(["a"], [(480, 640)], {}, CAMERA)


LENS = Lens(size=SIZE, photos=(0,), focal_px=500, relative_std=0.1, source="EXIF")
FOUND = [800.0, 320.0, 240.0, -0.02]


def test_what_geometry_determines_is_believed() -> None:
    assert settle(LENS, FOUND, 0.05) is None
    assert settle(replace(LENS, given=CAMERA), FOUND, 5.0) is None


def test_what_geometry_leaves_open_is_held_and_said() -> None:
    found = settle(LENS, FOUND, np.inf)
    assert found is not None and found[0] == [500, 320, 240, 0]
    assert "held at 500 px" in found[1] and "the photos tell nothing" in found[1]
    assert "uncertain by 10%" in found[1] and "--camera FILE" in found[1]


def test_between_the_two_the_surer_one_weighs_more() -> None:
    near, far = settle(LENS, FOUND, 0.12), settle(LENS, FOUND, 0.25)
    assert near is not None and far is not None
    assert 500 < far[0][0] < 600 < near[0][0] < 650
    assert -0.01 < near[0][3] < far[0][3] < 0


@pytest.mark.parametrize("oblique_deg", [0.0, 25.0])
def test_flat_ground_from_above_does_not_bend_the_focal_length(
    tmp_path: Path, oblique_deg: float
) -> None:
    pytest.importorskip("pycolmap")
    from edge_reloc_export.scene.sfm import map_photos

    world = make_ground(tmp_path, oblique_deg=oblique_deg)
    names = [view.name for view in world.views]
    facts = {name: fact(name, WIDE, 490.0) for name in names}
    model = map_photos(world.store, names, facts, None, progress=False).model
    assert len(model.views) == len(names)
    if oblique_deg:  # photos at an angle tell it
        assert not model.notes
        assert abs(model.views[0].camera.fx / CAMERA.fx - 1) < 0.01
    else:
        assert [note.split(" px")[0] for note in model.notes] == ["focal length held at 490"]
        assert model.views[0].camera.fx == 490.0
