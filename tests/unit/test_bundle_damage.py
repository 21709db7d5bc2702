"""Every way a bundle can be wrong, and the line that says so."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_reloc import __main__ as programs
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.schema import SCHEMA
from edge_reloc.errors import BundleError, EngineError
from edge_reloc.inference.planned import PlannedEngines
from edge_reloc.memory.arena import Arena

GOLDEN = Path(__file__).parents[1] / "golden" / "bundle"
XYZ = "points/xyz.npy"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "map"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Other bytes, and a manifest that agrees with them in size and hash."""
    (bundle / name).write_bytes(data)
    edit(
        bundle,
        lambda m: m["files"][name].update(nbytes=len(data), sha256=sha256(data).hexdigest()),
    )


def refused(bundle: Path, *words: str, verify: bool = False) -> None:
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle, verify=verify)
    text = str(caught.value)
    assert "\n" not in text
    for word in (*words, bundle.name):
        assert word in text, f"'{word}' is not in: {text}"


def test_the_untouched_copy_opens(bundle: Path) -> None:
    open_bundle(bundle, verify=True)


def test_no_such_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such map bundle", "edge-reloc map")


def test_manifest_missing(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    refused(bundle, "manifest.json is missing")


@pytest.mark.parametrize("text", ["", "{", "not json", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_manifest_not_json(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"not JSON|not a map bundle"):
        open_bundle(bundle)


def test_manifest_not_text(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"\xff\xfe\x00\x80")
    refused(bundle, "not text", "damaged")


@pytest.mark.parametrize("value", ["other.map", None, 7])
def test_other_format(bundle: Path, value: object) -> None:
    edit(bundle, lambda m: m.update(format=value))
    refused(bundle, "not a map bundle", "edge_reloc.map")


def test_manifest_is_a_list(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("[1, 2]")
    refused(bundle, "not a map bundle")


def test_newer_major(bundle: Path) -> None:
    edit(bundle, lambda m: m.update(version=[2, 0]))
    refused(bundle, "2.0 is newer than 1.5", "upgrade edge_reloc")


def test_older_major(bundle: Path) -> None:
    edit(bundle, lambda m: m.update(version=[0, 9]))
    refused(bundle, "0.9 is older", "map the place again")


def test_newer_minor_may_add_keys(bundle: Path) -> None:
    def change(m: dict[str, Any]) -> None:
        m["version"] = [1, 7]
        m["invention"] = m["world"]["invention"] = m["files"][XYZ]["invention"] = {"x": 1}

    edit(bundle, change)
    assert open_bundle(bundle, verify=True).array(XYZ).shape == (6, 3)


@pytest.mark.parametrize("version", [None, 1, "1.0", [1], [1, 0, 0], [1.0, 0], [True, 0], [1, -1]])
def test_unreadable_version(bundle: Path, version: object) -> None:
    edit(bundle, lambda m: m.update(version=version))
    refused(bundle, "expected [major, minor]")


@pytest.mark.parametrize("where", ["", "world", "features", "file"])
def test_unknown_key(bundle: Path, where: str) -> None:
    def change(m: dict[str, Any]) -> None:
        target = m["files"][XYZ] if where == "file" else m[where] if where else m
        target["surprise"] = 1

    edit(bundle, change)
    refused(bundle, "unknown keys ['surprise']")


@pytest.mark.parametrize("key", ["name", "world", "features"])
def test_missing_key(bundle: Path, key: str) -> None:
    edit(bundle, lambda m: m.pop(key))
    refused(bundle, f"'{key}'")


def test_missing_key_of_a_file(bundle: Path) -> None:
    edit(bundle, lambda m: m["files"][XYZ].pop("sha256"))
    refused(bundle, "'sha256'", XYZ)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 5),
        ("world", []),
        ("features", "sift"),
        ("method", None),
        ("methods", ["exhaustive"]),
        ("cameras", []),
        ("networks", {"nets/a.onnx": "float16"}),
        ("embedding", {"kind": "vlad"}),
        ("files", []),
    ],
)
def test_wrong_type(bundle: Path, key: str, value: object) -> None:
    edit(bundle, lambda m: m.update({key: value}))
    refused(bundle, key, "expected")


@pytest.mark.parametrize("gravity", [[0, 1], [0, 1, "down"], "down", [0, 1, None]])
def test_odd_gravity(bundle: Path, gravity: object) -> None:
    edit(bundle, lambda m: m["world"].update(gravity=gravity))
    refused(bundle, "gravity", "three numbers")


@pytest.mark.parametrize("parts", [["a"], {"a": [1, 2]}, {"a": "far"}, {"a": None}])
def test_odd_parts(bundle: Path, parts: object) -> None:
    edit(bundle, lambda m: m["world"].update(parts=parts))
    refused(bundle, "parts", "expected")


@pytest.mark.parametrize("shape", [6, "6x3", {"rows": 6}])
def test_shape_of_wrong_type(bundle: Path, shape: object) -> None:
    edit(bundle, lambda m: m["files"][XYZ].update(shape=shape))
    refused(bundle, "'shape'", "expected a list of integers")


@pytest.mark.parametrize("name", ["extra.bin", "nets/manifest.json", ".hidden"])
def test_unlisted_file(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    refused(bundle, name, "not listed")


def test_engines_are_not_of_the_map(bundle: Path) -> None:
    (bundle / "engines").mkdir()
    (bundle / "engines/head.engine").write_bytes(b"x")
    open_bundle(bundle, verify=True)


def test_missing_file(bundle: Path) -> None:
    (bundle / XYZ).unlink()
    refused(bundle, XYZ, "missing", "copy the bundle again")


def test_wrong_size(bundle: Path) -> None:
    with open(bundle / XYZ, "ab") as stream:
        stream.write(b"12345")
    size = (bundle / XYZ).stat().st_size
    refused(bundle, XYZ, f"found {size} bytes, expected {size - 5}")


def test_flipped_bit_is_found_by_verify(bundle: Path) -> None:
    data = bytearray((bundle / XYZ).read_bytes())
    data[-1] ^= 1
    (bundle / XYZ).write_bytes(bytes(data))
    open_bundle(bundle)  # sizes agree, contents are not read
    refused(bundle, XYZ, "sha256", "damaged", verify=True)


@pytest.mark.parametrize(
    "array",
    [np.zeros((6, 3)), np.zeros((3, 6), np.float32), np.zeros((6, 3), ">f4")],
    ids=["dtype", "shape", "byte order"],
)
def test_wrong_array(bundle: Path, array: np.ndarray) -> None:
    stream = io.BytesIO()
    np.save(stream, array)
    replace_file(bundle, XYZ, stream.getvalue())
    with pytest.raises(BundleError, match=r"xyz.npy: found .*, expected float32 \(6, 3\)"):
        open_bundle(bundle).array(XYZ)


ARRAYS = {
    "views/embedding.npy": np.eye(3, 2, dtype=np.float16),
    "points/direction.npy": np.array([[0, 0, 127]] * 6, np.int8),
    "points/sigma.npy": np.full((6, 2), 0.01, np.float16),
    "cells/observers.npy": np.ones((2, 5), np.float32),
    "views/start.npy": np.array([0, 2, 2, 4], np.int32),
    "views/point_id.npy": np.array([0, 5, 1, 2], np.int32),
    "embedding/centroids.npy": np.eye(2, 4, dtype=np.float32),
    "embedding/mean.npy": np.zeros(8, np.float32),
    "embedding/projection.npy": np.eye(2, 8, dtype=np.float32),
    "landmarks/start.npy": np.array([0, 3, 6], np.int32),
    "landmarks/point_id.npy": np.arange(6, dtype=np.int32),
    "landmarks/cam_from_world.npy": np.repeat(np.eye(4)[None], 2, axis=0),
    "landmarks/camera.npy": np.zeros(2, np.int32),
}


def put(bundle: Path, arrays: dict[str, np.ndarray]) -> None:
    """Other arrays, and a manifest that agrees with them."""
    with extend_bundle(bundle) as writer:
        for name, array in arrays.items():
            writer.add_array(name, array)


def test_arrays_that_fit_are_read(bundle: Path) -> None:
    put(bundle, ARRAYS)
    opened = open_bundle(bundle)
    for name in SCHEMA:
        if name != "embedding/place_mean.npy":  # of features that have it
            opened.array(name)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (XYZ, np.zeros((6, 3, 1), np.float32), "expected float32 (6, 3), which is (P,3)"),
        (XYZ, np.full((6, 3), np.nan, np.float32), "holds nan to nan"),
        (XYZ, np.full((6, 3), 1e30, np.float32), "expected -1e+09 to 1e+09"),
        ("points/sigma.npy", np.full((6, 2), -0.1, np.float16), "expected 0 to 1e+09"),
        (XYZ, np.asfortranarray(np.ones((6, 3), np.float32)), "in C order"),
        ("points/descriptors.npy", np.zeros((5, 4), np.float16), "(6, 4), which is (P,D)"),
        ("points/descriptors.npy", np.zeros((6, 4), np.float32), "float16 or int8"),
        ("points/descriptors.npy", np.full((6, 4), np.inf, np.float16), "not finite"),
        ("cells/start.npy", np.array([0, 6], np.int32), "(3,), which is (K+1)"),
        ("cells/start.npy", np.array([0, 2**30, 6], np.int32), "does not rise from 0"),
        ("cells/start.npy", np.array([-1, 4, 6], np.int32), "does not rise from 0"),
        ("cells/start.npy", np.array([0, 4, 5], np.int32), "ends at 5, expected 6"),
        ("cells/centre.npy", np.zeros((0, 3), np.float32), "expected some"),
        ("cells/radius.npy", np.array([1, -1], np.float32), "holds -1 to 1"),
        ("cells/observers.npy", np.zeros((2, 4), np.float32), "(2, 5), which is (K,5)"),
        ("views/embedding.npy", np.zeros((3, 7), np.float16), "(3, 2), which is (V,E)"),
        ("views/start.npy", np.array([0, 2, 2, 9], np.int32), "ends at 9, expected 4"),
        ("views/point_id.npy", np.array([0, 6, 1, 2], np.int32), "names 0 to 6, expected 0 to 5"),
        ("embedding/mean.npy", np.zeros(7, np.float32), "(8,), which is (W*D)"),
        ("embedding/projection.npy", np.zeros((3, 8), np.float32), "(2, 8), which is (E-G,W*D)"),
        ("landmarks/point_id.npy", -np.ones(6, np.int32), "names -1 to -1"),
        ("landmarks/camera.npy", np.ones(2, np.int32), "names 1 to 1, expected 0 to 0"),
        ("landmarks/cam_from_world.npy", np.zeros((2, 3, 4)), "(2, 4, 4), which is (L,4,4)"),
    ],
)
def test_arrays_that_do_not_fit(bundle: Path, name: str, array: np.ndarray, words: str) -> None:
    put(bundle, {**ARRAYS, name: array})
    if not array.flags.c_contiguous:  # the writer mends what it can
        stream = io.BytesIO()
        np.save(stream, array)
        replace_file(bundle, name, stream.getvalue())
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle).array(name)
    assert name in str(caught.value) and words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (
            ("features", "min_coverage"),
            -1,
            "'min_coverage' is -1.0, expected at least 0, at most 1",
        ),
        (("features", "min_similarity"), float("nan"), "'min_similarity' is nan"),
        (("features", "max_ratio"), 0, "'max_ratio' is 0.0, expected above 0, at most 1"),
        (("features", "dim"), 10**9, "'dim' is 1000000000"),
        (("features", "keypoints"), 10**400, "'keypoints' is"),
        (("embedding", "sharpness"), float("inf"), "'sharpness' is inf"),
        (("embedding", "dim"), 0, "'dim' is 0, expected at least 1"),
        (("world", "gravity"), [0.0, 0.0, float("nan")], "'gravity'"),
        (("files", XYZ, "nbytes"), -5, "'nbytes' is -5"),
        (("files", XYZ, "shape"), [-6, 3], "shape"),
        (("files", "nets/none.onnx", "network", "weight_bytes"), -1, "'weight_bytes' is -1"),
        (
            ("files", "nets/none.onnx", "network", "inputs", "image", "shape"),
            [2**40],
            "expected 134217728 numbers at most",
        ),
    ],
)
def test_numbers_out_of_their_range(
    bundle: Path, keys: tuple[str, ...], value: object, words: str
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        inner = manifest
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    edit(bundle, change)
    refused(bundle, words)


def test_what_a_file_says_stays_in_one_line(bundle: Path) -> None:
    edit(bundle, lambda m: m["files"][XYZ].update(dtype="a\nb\x1b[2J" + 9000 * "x"))
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle).array(XYZ)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2100
    assert r"a\nb\x1b[2J" in str(caught.value)


def test_network_is_no_array(bundle: Path) -> None:
    with pytest.raises(BundleError, match="not a readable array"):
        open_bundle(bundle).array("nets/none.onnx")


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return pytest.fail, ("the bundle ran code",)


def _pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([_Bomb()], object), allow_pickle=True)
    return stream.getvalue()


def _zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", b"x")
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        _pickled(),
        pickle.dumps(_Bomb()),
        _zipped(),
        (GOLDEN / XYZ).read_bytes()[:-4],
        (GOLDEN / XYZ).read_bytes()[:40],
        b"",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': __impo",
    ],
    ids=["object array", "pickle", "zip", "cut data", "cut header", "empty", "odd header"],
)
def test_unreadable_array_runs_no_code(bundle: Path, data: bytes) -> None:
    replace_file(bundle, XYZ, data)
    with pytest.raises(BundleError, match=r"xyz.npy: not a readable array"):
        open_bundle(bundle, verify=True).array(XYZ)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "../outside.bin",
        "points/../../outside.bin",
        "C:/x",
        "a\\b",
        "./a",
        "a\nb",
        "",
    ],
)
def test_path_out_of_the_bundle(bundle: Path, name: str) -> None:
    (bundle.parent / "outside.bin").write_bytes(b"x")
    entry = {"sha256": sha256(b"x").hexdigest(), "nbytes": 1}
    edit(bundle, lambda m: m["files"].update({name: entry}))
    with pytest.raises(BundleError, match="not a plain relative path"):
        open_bundle(bundle)


def test_link_to_a_file_outside(bundle: Path) -> None:
    shutil.move(bundle / XYZ, bundle.parent / "outside.npy")
    (bundle / XYZ).symlink_to(bundle.parent / "outside.npy")
    refused(bundle, XYZ, "symbolic link")


def test_link_to_a_folder_outside(bundle: Path) -> None:
    shutil.move(bundle / "points", bundle.parent / "outside")
    (bundle / "points").symlink_to(bundle.parent / "outside")
    refused(bundle, "symbolic link")


def test_bundle_reached_through_a_link_opens(bundle: Path) -> None:
    link = bundle.parent / "current"
    link.symlink_to(bundle)
    assert open_bundle(link, verify=True).manifest.name == "golden"


def test_file_that_it_does_not_have(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"has no 'points/nothing.npy'.*inspect"):
        open_bundle(bundle).array("points/nothing.npy")


@pytest.mark.parametrize(
    "name", ["points/" + "x" * 300, "/".join(["x" * 200] * 40)], ids=["file", "path"]
)
def test_names_that_no_file_can_have(bundle: Path, name: str) -> None:
    edit(bundle, lambda m: m["files"].update({name: m["files"][XYZ]}))
    refused(bundle, "File name too long")


def test_folders_without_end(bundle: Path) -> None:
    bundle.joinpath(*["folder"] * 9).mkdir(parents=True)
    refused(bundle, "a folder within 8 others")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('"statistics": {"a": [' + "[]," * 70_000 + "[]]}", "expected 131072 at most"),
        ('"networks": {"a": {"role": "", "islands": [' + '"",' * 140_000 + '""]}}', "131072"),
        ('"statistics": {"a": ' + "[" * 40 + "]" * 40 + "}", "nested deeper than 32 times"),
        ('"name": "other"', "'name' stands there twice"),
        ('"unit": "\\ud800"', "half of a character"),
    ],
    ids=["lists", "texts", "deep", "twice", "half"],
)
def test_what_a_manifest_may_hold(bundle: Path, more: str, words: str) -> None:
    path = bundle / "manifest.json"
    values = json.loads(path.read_text())
    values.pop("statistics", None), values.pop("networks", None)
    path.write_text(f"{json.dumps(values)[:-1]}, {more}}}")
    refused(bundle, "manifest.json: not JSON (", words)


def test_a_name_with_characters_beyond_sixteen_bits(bundle: Path) -> None:
    edit(bundle, lambda m: m.update(name="\U0001f3e0\u3000"))
    assert open_bundle(bundle).manifest.name == "\U0001f3e0\u3000"


def test_a_header_that_may_be_gigabytes(bundle: Path) -> None:
    nbytes = 3 << 30
    with open(bundle / XYZ, "wb") as stream:
        stream.write(b"\x93NUMPY\x02\x00" + nbytes.to_bytes(4, "little"))
        stream.truncate(nbytes + 100)  # a hole, which takes no room
    edit(bundle, lambda m: m["files"][XYZ].update(nbytes=nbytes + 100))
    with pytest.raises(BundleError, match=r"of version 2\.0, expected 1\.0"):
        open_bundle(bundle).array(XYZ)


def test_what_was_checked_as_an_array_is_no_network_yet(bundle: Path) -> None:
    opened = open_bundle(bundle)
    opened.array(XYZ)
    with pytest.raises(EngineError, match="not an ONNX network as this edge_reloc reads"):
        PlannedEngines(opened, Arena()).open(XYZ)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statistics": {"grade": 5}}, None),
        ({"statistics": {"grade": {"verdict": 1, "reasons": None}}}, None),
        ({"name": "a\n\x1b[2Jb", "generator": "\u202e"}, None),
        ({"cameras": {"a": {}}}, "cameras['a']: no ['cx'"),
        ({"cameras": {"a": {"model": [], "fx": "x"}}}, "cameras['a']: no ['cx'"),
    ],
)
def test_inspect_shows_or_refuses_what_a_manifest_says(
    bundle: Path, capsys: pytest.CaptureFixture, change: dict[str, Any], words: str | None
) -> None:
    edit(bundle, lambda m: m.update(change))
    assert programs.main(["inspect", str(bundle)]) == (0 if words is None else 1)
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", "").isprintable()
    assert words is None or words in said.err
