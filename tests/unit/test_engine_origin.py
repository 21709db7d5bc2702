"""A side-car proves nothing about itself: only what was built here is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_reloc.bundle import open_bundle
from edge_reloc.diagnosis.storage import check_map
from edge_reloc.errors import BundleError, DiskError, EngineError
from edge_reloc.inference.acceleration import choose_acceleration
from edge_reloc.inference.engine_key import FORMAT, VERSION, EngineKey, EngineRecord, read_sidecar
from edge_reloc.inference.engine_origin import SECRET, built_here, make_secret, origin_of
from edge_reloc.inference.tensorrt import TensorRt, TensorRtEngines
from edge_reloc.methods import Settings
from edge_reloc.running.demo import DEMO
from edge_reloc_export import export_engine

NETWORK = "nets/cells.onnx"
POISON = "poison_in_the_map"
ORIN = SimpleNamespace(
    cuda=SimpleNamespace(info=SimpleNamespace(name="Orin", compute_capability="8.7"))
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_RELOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A map whose engines folder holds one engine, of this flavour and these options."""
    return Path(shutil.copytree(DEMO / "map", tmp_path / "office"))


@pytest.fixture
def mark(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules in the engines folder, on the path, that leave this file when imported."""
    mark, folder = place.parent / "imported", place / "engines"
    folder.mkdir()
    for name in (POISON, "tensorrt"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n__version__ = '1'\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    yield mark
    for name in (POISON, "tensorrt"):
        sys.modules.pop(name, None)


def add_engine(place: Path, *, ours: bool = False, **changes: Any) -> EngineRecord:
    """An engine that claims to fit any machine."""
    plan = b"any bytes"
    digest = open_bundle(place).manifest.files[NETWORK].sha256
    values = {
        "onnx_sha256": digest,
        "flavour": "tensorrt",
        "tensorrt_version": "1",
        "gpu": "any",
        "compute_capability": "8.7",
        "options": ("hardware_compatible=True",),
    }
    key = EngineKey(**{**values, **changes})  # type: ignore[arg-type]
    folder = place / "engines"
    folder.mkdir(exist_ok=True)
    (folder / "cells.a.plan").write_bytes(plan)
    record = EngineRecord(
        key=key,
        network=Path(NETWORK).name,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_nbytes=len(plan),
        path=folder / "cells.a.json",
    )
    record = replace(record, origin=origin_of(record) if ours else "0" * 64)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "network": record.network,
        "key": asdict(key),
        "plan": {"sha256": record.plan_sha256, "nbytes": record.plan_nbytes},
        "origin": record.origin,
    }
    record.path.write_text(json.dumps(content))
    return record


def choose(place: Path, **options: bool) -> EngineRecord:
    gpu: Any = ORIN
    return TensorRtEngines(open_bundle(place), None, gpu, **options)._choose(NETWORK)  # type: ignore[arg-type]


def refused(place: Path, *words: str, **options: bool) -> None:
    with pytest.raises(EngineError) as caught:
        choose(place, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("trust", [False, True])
def test_a_side_car_cannot_name_a_module(place: Path, mark: Path, trust: bool) -> None:
    add_engine(place, flavour=POISON)
    refused(place, f"names the package '{POISON}'", "expected one of tensorrt", trust=trust)
    assert not mark.exists()


def test_not_even_tensorrt_is_imported_for_what_came_from_elsewhere(
    place: Path, mark: Path
) -> None:
    add_engine(place)
    for _ in range(2):  # before anything was built here, and after
        refused(place, "was not built on this machine", "--trust-engines", "export engine")
        make_secret()
    assert not mark.exists()
    assert choose(place, trust=True).plan.name == "cells.a.plan"
    assert mark.exists(), "the poison does not work: this test could not fail"


def test_what_was_built_here_is_used(place: Path, mark: Path) -> None:
    add_engine(place, ours=True)
    assert choose(place).plan.name == "cells.a.plan"


def test_code_for_the_processor_is_nobodys_but_the_users_to_allow(place: Path, mark: Path) -> None:
    add_engine(place, ours=True, options=("version_compatible=True",))
    for trust in (False, True):
        refused(place, "carries code for the processor", "--engine-host-code", trust=trust)
    assert not mark.exists()
    assert choose(place, host_code=True).key.carries_code


def test_a_copy_on_another_machine_is_foreign(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = add_engine(place, ours=True)
    assert built_here(read_sidecar(record.path))
    moved = Path(shutil.move(place, tmp_path / "renamed"))  # on the same machine
    assert built_here(read_sidecar(moved / "engines" / record.path.name))
    monkeypatch.setenv("EDGE_RELOC_CACHE", str(tmp_path / "elsewhere"))
    assert not built_here(read_sidecar(moved / "engines" / record.path.name))
    assert not (tmp_path / "elsewhere").exists(), "asking makes no secret"
    make_secret()
    assert not built_here(read_sidecar(moved / "engines" / record.path.name))


@pytest.mark.parametrize(
    "change",
    [
        {"network": "generative.onnx"},
        {"plan_sha256": "0" * 64},
        {"plan_nbytes": 10},
        {"origin": ""},
        {"origin": "é"},
        {"key": "onnx_sha256"},
        {"key": "flavour"},
        {"key": "tensorrt_version"},
        {"key": "gpu"},
        {"key": "compute_capability"},
        {"key": "options"},
    ],
)
def test_nothing_that_is_read_can_be_changed(place: Path, change: dict[str, Any]) -> None:
    record = add_engine(place, ours=True)
    if "key" in change:
        part = change["key"]
        other = ("strip_weights=True",) if part == "options" else "other"
        change = {"key": replace(record.key, **{part: other})}
    assert built_here(record) and not built_here(replace(record, **change))


def test_the_default_leaves_foreign_engines_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_reloc.inference.acceleration.find_gpu", lambda: ORIN.cuda.info)
    add_engine(place)
    bundle = open_bundle(place)
    found = choose_acceleration(bundle, Settings())
    assert found.engine == "onnxruntime" and "built on this machine" in (found.note or "")
    assert choose_acceleration(bundle, Settings(trust_engines=True)).engine == "tensorrt"
    (place / "engines" / "cells.b.json").write_text("{")
    assert choose_acceleration(bundle, Settings()).engine == "onnxruntime"
    add_engine(place, ours=True)
    found = choose_acceleration(bundle, Settings())
    assert found.engine == "tensorrt" and found.note is None


def test_the_doctor_tells_engines_from_elsewhere(place: Path) -> None:
    path = place / "manifest.json"
    values = json.loads(path.read_text())
    values["networks"] = {NETWORK: {"role": "cells", "float16": NETWORK}}
    path.write_text(json.dumps(values))
    for ours, words in ((False, "was not built on this machine"), (True, "of all 1 networks")):
        add_engine(place, ours=ours)
        (check,) = [check for check in check_map(place) if check.subject == "engines"]
        assert words in check.found


def test_the_secret_is_made_once_and_for_its_user_only(cache: Path) -> None:
    before = os.umask(0)
    try:
        first = make_secret()
    finally:
        os.umask(before)
    assert make_secret() == first and len(first) == 32
    assert (cache / SECRET).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in cache.iterdir()] == [SECRET]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.chmod(0o644), r"others may open it \(mode 0644, expected 0600\)"),
        (lambda path: path.write_bytes(b"short"), "is damaged, expected 32 bytes"),
        (lambda path: path.write_bytes(b"long" * 100), "is damaged, expected 32 bytes"),
        (lambda path: (path.unlink(), os.mkfifo(path)), r"cannot be read \(not a file\)"),
        (lambda path: (path.unlink(), path.mkdir()), r"cannot be read \(not a file\)"),
    ],
)
def test_a_secret_that_is_none(place: Path, cache: Path, spoil: Any, words: str) -> None:
    record = add_engine(place, ours=True)
    spoil(cache / SECRET)
    for ask in (lambda: built_here(record), lambda: origin_of(record), make_secret):
        with pytest.raises(EngineError, match=f"{SECRET}: {words}; remove it and build"):
            ask()


def test_no_place_for_the_secret(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises((DiskError, EngineError), match=rf"{SECRET}: cannot be"):
        make_secret()


@pytest.mark.parametrize("name", ["engines", "engines/cells.b.json", "engines/cells.a.plan"])
def test_engines_do_not_lead_elsewhere(place: Path, tmp_path: Path, name: str) -> None:
    """What is built goes into that folder, and replaces what lies there."""
    add_engine(place, ours=True)
    path = place / name
    if path.exists():
        path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match=f"{name}: leads out of the bundle through a symbolic"):
        open_bundle(place)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
        lambda path: [path.touch(), os.truncate(path, 1 << 36)],
        lambda path: path.write_bytes(b"other9 b."),
    ],
    ids=["pipe", "folder", "hole", "bytes"],
)
def test_a_plan_that_is_no_longer_what_was_built(place: Path, spoil: Any) -> None:
    record = add_engine(place, ours=True)
    record.plan.unlink()
    spoil(record.plan)
    module = SimpleNamespace(Runtime=lambda logger: None, ILogger=object, __version__="1")
    package = object.__new__(TensorRt)
    package.module, package.flavour = module, "tensorrt"
    with pytest.raises(EngineError, match=r"is cut off or missing|is damaged, its hash is another"):
        package.load(record, place / NETWORK)


def test_a_side_car_that_is_all_lists(place: Path) -> None:
    path = add_engine(place).path
    path.write_text('{"format": "edge_reloc.engine", "x": [' + "[]," * (1 << 19) + "[]]}")
    with pytest.raises(EngineError, match="expected 1048576 at most"):
        read_sidecar(path)


def test_no_engine_is_built_of_a_network_that_none_may_open(place: Path, tmp_path: Path) -> None:
    content = b"\x3a\x02\x7a\x00"  # a graph with sparse weights
    (place / NETWORK).write_bytes(content)
    values = json.loads((place / "manifest.json").read_text())
    values["files"][NETWORK]["nbytes"] = len(content)
    (place / "manifest.json").write_text(json.dumps(values))
    options = export_engine._parser().parse_args(["--map", str(place), "--precision", "float32"])
    with pytest.raises(EngineError, match=r"cells\.onnx: .* has sparse weights"):
        export_engine._networks(options, tmp_path)


def test_what_rtx_compiles_is_not_read_from_the_map(place: Path, cache: Path) -> None:
    assert add_engine(place).compiled.parent == cache
