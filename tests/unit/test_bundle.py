"""The map bundle: round trip, golden bytes, publishing whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.bundle import (
    BundleWriter,
    Manifest,
    World,
    array_file,
    exchange,
    extend_bundle,
    open_bundle,
)
from edge_reloc.bundle.writer import check_destination
from edge_reloc.errors import BundleError, DiskError
from edge_reloc.features import FeatureSpec

GOLDEN = Path(__file__).parents[1] / "golden"


def small_manifest(name: str = "small") -> Manifest:
    return Manifest(
        name=name,
        world=World(metric=False, gravity=(0.0, 1.0, 0.0), parts={"here": (0.0, 50.0, 0.0)}),
        features=FeatureSpec(kind="sift", dim=128),
        method="exhaustive",
        methods={"exhaustive": {"second_pass": True}},
        cameras={"a": {"model": "pinhole"}},
        statistics={"points": 3},
        generator="test",
    )


def write_small(directory: Path, value: float = 1.0) -> dict[str, np.ndarray]:
    arrays = {
        "points/xyz.npy": np.full((3, 3), value, np.float32),
        "points/id.npy": np.arange(3, dtype=np.int32),
        "empty.npy": np.zeros((0, 7), np.float16),
        "scalar.npy": np.array(2.5),
    }
    with BundleWriter(directory, small_manifest()) as writer:
        for name, array in arrays.items():
            writer.add_array(name, array, "metre")
        writer.add_bytes("nets/head.onnx", b"onnx")
    return arrays


def test_round_trip(tmp_path: Path) -> None:
    arrays = write_small(tmp_path / "map")
    bundle = open_bundle(tmp_path / "map", verify=True)
    for name, array in arrays.items():
        found = bundle.array(name)
        assert found.dtype == array.dtype and found.shape == array.shape
        np.testing.assert_array_equal(found, array)
        assert bundle.manifest.files[name].unit == "metre"
    assert bundle.path("nets/head.onnx").read_bytes() == b"onnx"
    manifest = bundle.manifest
    manifest.files = {}
    assert manifest == small_manifest()


def test_arrays_are_read_only(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    array = open_bundle(tmp_path / "map").array("points/xyz.npy")
    with pytest.raises(ValueError):
        array[0] = 0.0


def test_a_small_array_is_a_copy_that_no_writer_reaches(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    bundle = open_bundle(tmp_path / "map")
    array = bundle.array("points/xyz.npy")
    os.truncate(tmp_path / "map/points/xyz.npy", 0)
    assert array[2, 2] == 1.0
    bundle.check_unchanged()


@pytest.mark.parametrize("change", ["cut", "written over", "replaced", "removed"])
def test_a_large_array_is_mapped_and_a_change_in_place_is_told(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_file, "COPIED_BYTES", 16)
    write_small(tmp_path / "map")
    bundle, path = open_bundle(tmp_path / "map"), tmp_path / "map/points/xyz.npy"
    array = bundle.array("points/xyz.npy")
    bundle.check_unchanged()
    if change == "cut":
        os.truncate(path, 0)
    elif change == "written over":
        with open(path, "r+b") as stream:
            stream.write(bytes(164))
    elif change == "replaced":
        write_small(tmp_path / "map", value=2.0)
    else:
        shutil.rmtree(tmp_path / "map")
    if change in ("cut", "written over"):
        with pytest.raises(BundleError, match=r"xyz\.npy: changed while it was in use"):
            bundle.check_unchanged()
    else:
        bundle.check_unchanged()
        assert array[2, 2] == 1.0


def test_opened_files_are_counted(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    bundle = open_bundle(tmp_path / "map")
    assert bundle.nbytes(bundle.used) == 0
    bundle.array("points/xyz.npy")
    assert bundle.nbytes(bundle.used) == (tmp_path / "map/points/xyz.npy").stat().st_size
    assert bundle.nbytes() > bundle.nbytes(bundle.used)


def test_golden_bytes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_bundle", GOLDEN / "make_bundle.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_golden(tmp_path / "map")
    committed, written = _contents(GOLDEN / "bundle"), _contents(tmp_path / "map")
    assert written.keys() == committed.keys()
    for name, content in committed.items():
        assert written[name] == content, f"{name}: the writer's bytes have changed"


def test_golden_bundle_opens() -> None:
    bundle = open_bundle(GOLDEN / "bundle", verify=True)
    assert bundle.manifest.world.georeference == {
        "latitude_deg": 55.7,
        "longitude_deg": 13.2,
        "altitude_m": 40.0,
    }
    assert bundle.manifest.world.gravity == (0.0, 0.0, -1.0)
    np.testing.assert_array_equal(
        bundle.array("points/xyz.npy"), np.arange(18, dtype=np.float32).reshape(6, 3)
    )


def test_interrupted_writer_leaves_the_old_bundle(tmp_path: Path) -> None:
    write_small(tmp_path / "map", value=1.0)
    with (
        pytest.raises(KeyboardInterrupt),
        BundleWriter(tmp_path / "map", small_manifest("new")) as writer,
    ):
        writer.add_array("points/xyz.npy", np.zeros((3, 3), np.float32))
        raise KeyboardInterrupt
    bundle = open_bundle(tmp_path / "map", verify=True)
    assert bundle.manifest.name == "small"
    assert bundle.array("points/xyz.npy")[0, 0] == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["map"]  # nothing left beside it


def test_interrupted_first_writer_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        BundleWriter(tmp_path / "map", small_manifest()) as writer,
    ):
        writer.add_bytes("a.bin", b"1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=[True, False], ids=["exchanged", "renamed twice"])
def exchanges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system can exchange two names."""
    if not request.param:
        monkeypatch.setattr(exchange, "_exchange", lambda a, b: False)
    return bool(request.param)


def test_failed_publishing_puts_the_old_bundle_back(
    tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path / "map")
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "map" and self.name.endswith(exchange.WRITING):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    def no_exchange(a: Path, b: Path) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    if exchanges:
        monkeypatch.setattr(exchange, "_exchange", no_exchange)
    with (
        pytest.raises(DiskError, match=r"No space.*takes .* MB are free.*is unchanged"),
        BundleWriter(tmp_path / "map", small_manifest("new")) as writer,
    ):
        writer.add_bytes("a.bin", b"1")
    assert open_bundle(tmp_path / "map", verify=True).manifest.name == "small"
    assert os.listdir(tmp_path) == ["map"]


KILLED = """
import os, sys, pathlib
sys.path[:0] = {path!r}
from test_bundle import exchange, write_small
moment, exchanges = {moment}, {exchanges}
if not exchanges:
    exchange._exchange = lambda a, b: False
count = 0
def killed_at(work):
    def step(*arguments, **options):
        global count
        count += 1
        if count == moment:
            os._exit(9)  # as by SIGKILL: nothing is cleaned up
        return work(*arguments, **options)
    return step
exchange._exchange = killed_at(exchange._exchange)
pathlib.Path.rename = killed_at(pathlib.Path.rename)
exchange._flush_folder = killed_at(exchange._flush_folder)
exchange.shutil.rmtree = killed_at(exchange.shutil.rmtree)
write_small(pathlib.Path("map"), value=2.0)
"""


@pytest.mark.parametrize("moment", range(1, 6))
@pytest.mark.parametrize("exchanges", [True, False], ids=["exchanged", "renamed twice"])
def test_a_writer_that_is_killed_loses_nothing_and_its_litter_goes(
    tmp_path: Path, moment: int, exchanges: bool
) -> None:
    write_small(tmp_path / "map", value=1.0)
    (tmp_path / "map/engines").mkdir()
    (tmp_path / "map/engines/head.engine").write_bytes(b"engine")
    code = KILLED.format(path=sys.path, moment=moment, exchanges=exchanges)
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path)
    if moment <= 3:
        assert killed.returncode == 9
    bundle = open_bundle(tmp_path / "map", verify=True)
    assert bundle.array("points/xyz.npy")[0, 0] in (1.0, 2.0)
    assert (tmp_path / "map/engines/head.engine").read_bytes() == b"engine"
    write_small(tmp_path / "map", value=3.0)
    assert open_bundle(tmp_path / "map", verify=True).array("points/xyz.npy")[0, 0] == 3.0
    assert (tmp_path / "map/engines/head.engine").read_bytes() == b"engine"
    assert os.listdir(tmp_path) == ["map"]


def test_a_writer_leaves_alone_what_another_is_writing(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "map", small_manifest("first")) as writer:
        writer.add_bytes("a.bin", b"1")
        (tmp_path / ".map.notes").mkdir()  # no writer's
        write_small(tmp_path / "map.old")
        write_small(tmp_path / "map")
        assert writer.work.is_dir()
    assert open_bundle(tmp_path / "map", verify=True).manifest.name == "first"
    assert sorted(os.listdir(tmp_path)) == [".map.notes", "map", "map.old"]


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    (tmp_path / "link").symlink_to("map")
    write_small(tmp_path / "link", value=2.0)
    assert (tmp_path / "link").is_symlink()
    assert open_bundle(tmp_path / "map").array("points/xyz.npy")[0, 0] == 2.0
    assert sorted(os.listdir(tmp_path)) == ["link", "map"]


def test_replacing_a_bundle_keeps_the_device_engines(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    (tmp_path / "map/engines").mkdir()
    (tmp_path / "map/engines/head.engine").write_bytes(b"engine")
    write_small(tmp_path / "map", value=2.0)
    assert open_bundle(tmp_path / "map").array("points/xyz.npy")[0, 0] == 2.0
    assert (tmp_path / "map/engines/head.engine").read_bytes() == b"engine"


def test_extending_keeps_replaces_and_removes(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    before = open_bundle(tmp_path / "map").array("points/xyz.npy")
    with extend_bundle(tmp_path / "map") as writer:
        writer.add_array("points/xyz.npy", np.full((4, 3), 9.0, np.float32), "metre")
        writer.add_bytes("nets/other.onnx", b"more")
        writer.remove("points/id.npy")
        writer.remove("nets/not_there.onnx")
        writer.manifest.method = "visible_structure"
    bundle = open_bundle(tmp_path / "map", verify=True)
    assert bundle.manifest.method == "visible_structure"
    assert bundle.manifest.cameras == {"a": {"model": "pinhole"}}
    assert bundle.array("points/xyz.npy").shape == (4, 3)
    assert bundle.path("nets/head.onnx").read_bytes() == b"onnx"
    assert bundle.path("nets/other.onnx").read_bytes() == b"more"
    assert not bundle.has("points/id.npy")
    assert not (tmp_path / "map/points/id.npy").exists()
    # Whoever had the old bundle open goes on reading the old bytes.
    assert before.shape == (3, 3) and before[0, 0] == 1.0


def test_two_extensions_at_once_are_both_kept(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    began = threading.Event()

    def extend() -> None:
        with extend_bundle(tmp_path / "map") as writer:
            began.set()
            writer.add_bytes("nets/second.onnx", b"second")

    second = threading.Thread(target=extend)
    with extend_bundle(tmp_path / "map") as writer:
        second.start()
        began.wait(0.3)  # in vain: it begins when this one is through
        writer.add_bytes("nets/first.onnx", b"first")
    second.join()
    bundle = open_bundle(tmp_path / "map", verify=True)
    assert bundle.has("nets/first.onnx") and bundle.has("nets/second.onnx")


def test_interrupted_extension_leaves_the_old_bundle(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    with pytest.raises(KeyboardInterrupt), extend_bundle(tmp_path / "map") as writer:
        writer.add_bytes("nets/head.onnx", b"half a network")
        writer.remove("points/id.npy")
        raise KeyboardInterrupt
    bundle = open_bundle(tmp_path / "map", verify=True)
    assert bundle.path("nets/head.onnx").read_bytes() == b"onnx"
    assert bundle.has("points/id.npy")


def test_writer_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"precious")
    with (
        pytest.raises(BundleError, match="is not a map bundle"),
        BundleWriter(tmp_path / "photos", small_manifest()),
    ):
        pass
    assert (tmp_path / "photos/a.jpg").read_bytes() == b"precious"


def test_writer_leaves_what_somebody_put_into_a_bundle(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    (tmp_path / "map/photos").mkdir()
    (tmp_path / "map/photos/a.jpg").write_bytes(b"precious")
    for damage in ("", "not JSON"):
        if damage:
            (tmp_path / "map/manifest.json").write_text(damage)
        with pytest.raises(BundleError, match=r"(a\.jpg|\.npy): is no part of the map bundle"):
            check_destination(tmp_path / "map")
    assert (tmp_path / "map/photos/a.jpg").read_bytes() == b"precious"


def test_writer_refuses_the_folder_that_it_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path / "map")
    monkeypatch.chdir(tmp_path / "map/points")
    with pytest.raises(BundleError, match="stands in the folder that it would replace"):
        check_destination("..")


def test_writer_refuses_the_place_of_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "map").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "map")
    with pytest.raises(BundleError, match="a disk is mounted there"):
        check_destination(tmp_path / "map")


def test_what_only_looks_like_a_leftover_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".map.a.writing")
    os.mkfifo(tmp_path / ".map.a.replaced")
    with pytest.raises(BundleError, match="no such map bundle"):
        open_bundle(tmp_path / "map")
    write_small(tmp_path / "map")
    assert sorted(os.listdir(tmp_path)) == [".map.a.replaced", ".map.a.writing", "map"]


def test_writer_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "map").mkdir()
    write_small(tmp_path / "map")
    assert open_bundle(tmp_path / "map").manifest.name == "small"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up.bin", "a/../../b", "a\\b", "", "manifest.json"]
)
def test_writer_refuses_odd_names(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(BundleError, match="not a plain relative path"),
        BundleWriter(tmp_path / "map", small_manifest()) as writer,
    ):
        writer.add_bytes(name, b"")
    assert not (tmp_path / "map").exists()


def test_copying_a_bundle_is_enough(tmp_path: Path) -> None:
    write_small(tmp_path / "map")
    shutil.copytree(tmp_path / "map", tmp_path / "copy")
    open_bundle(tmp_path / "copy", verify=True)


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        p.relative_to(directory).as_posix(): p.read_bytes()
        for p in sorted(directory.rglob("*"))
        if p.is_file()
    }


def test_a_map_of_version_1_1_opens(tmp_path: Path) -> None:
    """Null where there is nothing, an empty embedding, limits, networks that were dropped."""
    write_small(tmp_path / "map")
    path = tmp_path / "map/manifest.json"
    values = json.loads(path.read_text())
    values["embedding"], values["limits"] = {}, {"keypoints": 2048, "samples": 1000}
    values["features"] |= {"kind": "waymark", "networks": [], "pair_similarity": None}
    values["world"] |= {"georeference": None}
    for entry in values["files"].values():
        entry |= {key: entry.get(key) for key in ("dtype", "shape", "unit")}
    path.write_text(json.dumps(values))
    manifest = open_bundle(tmp_path / "map").manifest
    assert manifest.embedding is None and manifest.features.networks == ()
