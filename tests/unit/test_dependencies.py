"""docs/dependencies.md tells what pyproject.toml asks for, and the code imports nothing else."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

requirements = pytest.importorskip("packaging.requirements")
if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
OURS = {"edge_reloc", "edge_reloc_export", "edge_reloc_calib"}
#: not of a package by their own name that is installed here: rerun-sdk is too large for [test]
BROUGHT = {"cuda", "pycuda", "rclpy", "rerun"}


def _asked() -> set[tuple[str, str, str]]:
    """Package, extra and versions, of every requirement on another project."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups: dict[str, list[str]] = {
        "": told["project"]["dependencies"],
        "build": told["build-system"]["requires"],
        **told["project"]["optional-dependencies"],
    }
    return {
        (name.name, extra, str(name.specifier))
        for extra, texts in groups.items()
        for name in map(requirements.Requirement, texts)
        if name.name != "edge-reloc"
    }


def _told() -> Iterator[tuple[str, str, str]]:
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| ([a-z0-9]*) ?\| `([^`]+)` \|",
        (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for name, extra, versions in rows:
        yield name, extra, str(requirements.Requirement(name + versions).specifier)


def test_the_table_tells_what_is_asked_for() -> None:
    told = list(_told())
    assert set(told) == _asked()
    assert len(told) == len(set(told))


def _imported(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - OURS - BROUGHT


@pytest.mark.parametrize("folder", ["edge_reloc", "export", "calib"])
def test_what_is_imported_is_asked_for(folder: str) -> None:
    of_module: dict[str, Any] = packages_distributions()
    asked = {name.lower() for name, _, _ in _asked()}
    missing = {
        module
        for module in _imported(ROOT / folder)
        if not asked & {name.lower() for name in of_module.get(module, [module])}
    }
    assert not missing
