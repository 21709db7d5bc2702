"""The package as users install it: what lies in it, and that it runs where no checkout is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="83", reason="pip install 'edge-reloc[test]'")

ROOT = Path(__file__).parents[2]
FOLDERS = {"edge_reloc": "edge_reloc", "export": "edge_reloc_export", "calib": "edge_reloc_calib"}
BUILDS = "from setuptools.build_meta import build_{0}; build_{0}({1!r})"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, made of the tracked files, and the wheel, made of the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    tree = folder / "tree"
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=leave)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    _build("sdist", tree, folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    _build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)
    return folder


def _build(kind: str, tree: Path, folder: Path) -> None:
    code = BUILDS.format(kind, str(folder))
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _files() -> set[str]:
    """Every file of the three packages, by the name that it is installed under."""
    return {
        f"{package}/{path.relative_to(ROOT / folder)}"
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_and_sdist_hold_every_file(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == _files()
    assert "edge_reloc/demo/map/manifest.json" in held


def test_the_wheel_runs_in_an_environment_of_its_own_and_tells_systemd(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    python = _installed(wheel, tmp_path / "venv")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.0)
        done = subprocess.run(
            [python.with_name("edge-reloc"), "run", "--demo", "--frames", "2", "--json"],
            cwd=tmp_path,
            env={**_without_the_tree(), "NOTIFY_SOCKET": str(tmp_path / "notify")},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        told = [manager.recv(100), manager.recv(100)]
    assert json.loads(done.stdout)["localized"] == 2
    assert told == [b"READY=1", b"WATCHDOG=1"]
    code = "import edge_reloc, edge_reloc_export; print(edge_reloc.__file__)"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=_without_the_tree(), capture_output=True, text=True
    )
    assert done.stdout.startswith(str(tmp_path / "venv")), done.stderr


def _installed(wheel: Path, folder: Path) -> Path:
    """Python of a new environment with the wheel, and with this one's packages after it."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python))
    install = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel))
    subprocess.run([*pip, *install], check=True, env=_without_the_tree())
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Paths in a file are not searched for such files: editable installs stay behind.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _without_the_tree() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
