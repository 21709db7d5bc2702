"""The house stays in order: few modules at the top, and no circle of imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"edge_reloc": "edge_reloc", "export": "edge_reloc_export", "calib": "edge_reloc_calib"}
TOP = 15  # modules beside the folders of the runtime, programs among them


def modules() -> dict[str, Path]:
    """Every module of the three packages by its import name."""
    found = {}
    for folder, name in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = [name, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that a module names in an import, wherever it stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(base if node.level else []), *([node.module] if node.module else [])]
            start = ".".join(parts)
            for alias in node.names:
                inner = f"{start}.{alias.name}"
                if inner in known or start in known:
                    yield inner if inner in known else start


def is_lazy(path: Path) -> bool:
    """Packages that hand on the names of their modules when asked; nobody inside asks them."""
    return path.name == "__init__.py"


def test_no_circle_of_imports() -> None:
    known = modules()
    graph = {
        name: {other for other in imports(name, path, known) if other != name}
        for name, path in known.items()
        if not is_lazy(path)
    }
    graph = {name: {o for o in others if o in graph} for name, others in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_few_modules_lie_beside_the_folders() -> None:
    found = sorted(path.name for path in (ROOT / "edge_reloc").glob("*.py"))
    assert len(found) <= TOP, found
