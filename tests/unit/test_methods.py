"""The table of methods is the only list: nobody else writes their names."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_reloc.bundle import open_bundle
from edge_reloc.errors import BundleError, ConfigError
from edge_reloc.evaluation.chosen import parse_method, shown_methods
from edge_reloc.methods import METHODS, Settings, bundle_networks, find_method, variants
from edge_reloc.running.demo import DEMO

ROOT = Path(__file__).parents[2]
NAMES = {*METHODS, *(variant.name for _, variant in variants())}
#: the same word for something else: the cells of a map
OTHERWISE = {
    ("edge_reloc/diagnosis/contents.py", "cells"),
    ("edge_reloc/inspect.py", "cells"),
    ("export/diff.py", "cells"),
    ("export/living/difference.py", "cells"),
    ("export/living/updating.py", "cells"),
    ("export/update.py", "cells"),
}


def literals(path: Path) -> Iterator[str]:
    """Texts of a module that are a name alone, or the name and what `evaluate` adds to it."""
    for node in ast.walk(ast.parse(path.read_text())):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " not in text:
            yield text.split("+")[0].split(":")[0]


def test_no_name_of_a_method_stands_outside_its_file() -> None:
    found = {
        (str(path.relative_to(ROOT)), text)
        for package in ("edge_reloc", "export", "calib")
        for path in (ROOT / package).rglob("*.py")
        if "methods" not in path.parts
        for text in literals(path)
        if text in NAMES
    }
    assert found == OTHERWISE


def test_every_setting_of_a_variant_is_one_and_makes_it() -> None:
    known = {entry.name for entry in dataclasses.fields(Settings)}
    for method, variant in variants():
        assert {*variant.settings, variant.counted, *(variant.unlimited or {})} <= known
        settings = method.settings(variant, Settings())
        assert settings.method == method.name
        for text in variant.shown:
            assert parse_method(text, Settings()).settings.method == method.name


def test_groups_of_settings_are_methods_or_known() -> None:
    groups = {entry.metadata["rule"].group for entry in dataclasses.fields(Settings)}
    assert groups - {"localising", "gate", "machine"} <= set(METHODS)


def test_what_the_demo_can_do() -> None:
    manifest = open_bundle(DEMO / "map").manifest
    assert [*shown_methods(manifest)] == [*shown_methods()]
    networks = bundle_networks(manifest)
    assert {network.file for network in networks} == {
        file for file in manifest.files if file.endswith(".onnx")
    }
    assert len({network.role for network in networks}) == len(networks)
    assert networks[0].role == "features" and networks[0].size == (640, 480)


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="found 'magic', expected one of exhaustive, "):
        find_method("magic")
    with pytest.raises(ConfigError, match="method 'magic\\+2': found 'magic', expected one of "):
        parse_method("magic+2", Settings())


def test_what_a_bundle_says_of_a_method_is_checked() -> None:
    manifest = open_bundle(DEMO / "map").manifest
    for method in METHODS.values():
        if method.name in manifest.methods:
            manifest.methods[method.name] = {"network": 3}
            with pytest.raises(BundleError, match=r"manifest\.json: methods"):
                list(method.networks(manifest))
