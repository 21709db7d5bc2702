"""A map measures its own errors, and new frames keep to what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import edge_reloc as package
from edge_reloc.bundle import open_bundle
from edge_reloc.evaluation.claims import claim_of
from edge_reloc.reference.colmap import read_model
from edge_reloc_export.integrity import budget
from tests.courtyard import courtyard

Program = Callable[..., CompletedProcess[str]]
DEMO = Path(package.__file__).parent / "demo"


def _map(edge_reloc: Program, tmp_path: Path) -> str:
    """Map every second of some of the demo's frames, at true poses; what the program says."""
    names = [f"frame_{n:03d}.jpg" for n in range(0, 46, 2)]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    told = edge_reloc(
        "map", "--images", DEMO / "frames", "--list", tmp_path / "list.txt",
        "--poses", DEMO / "truth", "--metric", "--gps", "none", "--keypoints", 512,
        "--output", tmp_path / "map",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_new_frames_err_as_the_map_says(
    edge_reloc: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "errors measured on photos left out" in _map(edge_reloc, tmp_path)
    integrity = open_bundle(tmp_path / "map", verify=True).manifest.integrity
    assert integrity is not None and integrity.photos >= 20
    truth = {image.name: image.cam_from_world for image in read_model(DEMO / "truth").images}
    claims = []
    with package.open(tmp_path / "map", second_pass=True) as localizer:
        for n in range(1, 45, 3):
            name = f"frame_{n:03d}.jpg"
            estimate = localizer.localize(DEMO / "frames" / name).estimate
            claims.append(claim_of(estimate, truth[name], None))
    known = [claim for claim in claims if claim is not None]
    assert len(known) > 10
    assert sum(claim.covered for claim in known) >= 0.85 * len(known)
    assert not (tmp_path / "map.work/left_out").exists()

    assert budget.main([f"{tmp_path / 'map'}={courtyard(tmp_path)}"]) == 0
    header, near, far = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == [
        *("map", "unit", "left", "out", "poses", "claimed", "found", "shared"),
        "queries",
    ]
    for row, share in ((near, "12%"), (far, "50%")):
        assert row[:3] == ["map", "cm", share] and int(row[3]) >= 6
        claimed, found, shared = float(row[4]), float(row[5]), float(row[6].rstrip("%")) / 100
        assert 0.05 < found < 5.0 and 0.3 < claimed / found < 3.0
        assert abs(shared - max(1.0 - (claimed / found) ** 2, 0.0)) < 0.05
    assert near[7] == far[7] and 0.05 < float(near[7]) < 5.0
