"""The guide to the Python interface says what works: its blocks run as they stand."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from edge_reloc.command_line.arguments import settings_of
from edge_reloc.methods import Settings
from edge_reloc.running.demo import DEMO
from edge_reloc_export import sign

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
README = Path(__file__).parents[2] / "README.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo under the names that the pages use, signed."""
    office = Path(shutil.copytree(DEMO / "map", tmp_path / "maps" / "office"))
    assert sign.main(["--new-key", str(tmp_path / "site.key")]) == 0
    assert sign.main(["--map", str(office), "--key", str(tmp_path / "site.key")]) == 0
    shutil.copy(DEMO / "camera.json", tmp_path)
    (tmp_path / "photos").mkdir()
    for name, frame in (("desk.jpg", "frame_000.jpg"), ("wall.jpg", "frame_040.jpg")):
        shutil.copy(DEMO / "frames" / frame, tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [PAGE, README], ids=lambda page: page.name)
def test_every_block_runs(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page, "python")
    assert len(found) >= (6 if page is PAGE else 1)
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block.replace("v4l2:///dev/video0", "photos"), page.name, "exec"), names)
        for error in re.findall(r"print\(error\)  # (.+)", block):
            assert error in capsys.readouterr().out
    result = names["result"]
    assert getattr(result, "ok", False)


def test_the_settings_file_is_read(folder: Path) -> None:
    (text,) = blocks(PAGE, "toml")
    (folder / "settings.toml").write_text(text)
    options = argparse.Namespace(settings=folder / "settings.toml")
    assert settings_of(options) == Settings(method="landmarks", second_pass=True, min_inliers=30)
