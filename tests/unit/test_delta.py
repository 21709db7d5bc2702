"""A delta makes the updated bundle of its base, to the byte, or says in one line why not."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_reloc import __main__ as programs
from edge_reloc.bundle import extend_bundle, layout, open_bundle
from edge_reloc.delta import applying
from edge_reloc.delta.applying import apply_delta
from edge_reloc.delta.delta_file import MAGIC, signature_file
from edge_reloc.delta.delta_writer import make_delta
from edge_reloc.delta.renumbering import as_items, renumber
from edge_reloc.delta.runs import find_runs, follow_runs
from edge_reloc.errors import BundleError, EdgeRelocError
from edge_reloc.running.demo import DEMO

DROPPED = slice(None, None, 7)  # points that leave
SMALL_SHARE = 0.02  # of the map, that a delta may have which only leaves points out
FLIPS = 25  # bytes that are spoilt, one after the other, of the header and of the stream each


def manifest_digest(bundle: Path) -> str:
    return hashlib.sha256((bundle / layout.MANIFEST).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(DEMO / "map", tmp_path_factory.mktemp("base") / "map"))


@pytest.fixture(scope="module")
def updated(base: Path) -> Path:
    """Fewer points under other numbers, two new photos, another file."""
    from edge_reloc_export.packing.drop_points import drop_points

    pytest.importorskip("onnx")
    bundle, output = open_bundle(base), base.with_name("updated")
    keep = np.ones(len(bundle.array(layout.XYZ)), bool)
    keep[DROPPED] = False
    with extend_bundle(base, output) as writer:
        drop_points(writer, bundle, keep)
        embedding = bundle.array(layout.VIEW_EMBEDDING)
        writer.add_array(layout.VIEW_EMBEDDING, np.concatenate([embedding, embedding[:2][::-1]]))
        starts = np.load(writer.work / layout.VIEW_START)
        ids = np.load(writer.work / layout.VIEW_POINT_ID)
        writer.add_array(layout.VIEW_START, np.append(starts, starts[-1] + [2, 5]).astype(np.int32))
        writer.add_array(layout.VIEW_POINT_ID, np.append(ids, [3, 9, 1, 4, 6]).astype(np.int32))
    return output


@pytest.fixture
def delta(base: Path, updated: Path, tmp_path: Path) -> Path:
    path = tmp_path / "delta"
    path.write_bytes(make_delta(open_bundle(base), open_bundle(updated)))
    return path


@pytest.mark.parametrize("item", [1, 4, 12])
def test_items_come_back_whatever_was_moved_dropped_or_put_between(item: int) -> None:
    rng = np.random.default_rng(item)
    base = rng.integers(0, 256, (900, item), np.uint8)
    for updated in (
        base,
        base[::-1],
        np.delete(base, [0, 5, 899], axis=0),
        np.insert(base, [0, 7, 7, 450], 3, axis=0),
        np.concatenate([base[500:], rng.integers(0, 256, (30, item), np.uint8), base[:100]]),
        base[:0],
        rng.integers(0, 256, (50, item), np.uint8),
    ):
        updated = np.ascontiguousarray(updated)
        assert follow_runs(base, find_runs(base, updated)) == updated.tobytes()


def test_the_updated_map_comes_out_to_the_byte(
    base: Path, updated: Path, delta: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    assert programs.main(["apply", "--map", str(base), "--delta", str(delta),
                          "--output", str(made)]) == 0  # fmt: skip
    assert manifest_digest(made) == manifest_digest(updated) != manifest_digest(base)
    open_bundle(made, verify=True)
    assert delta.stat().st_size < SMALL_SHARE * open_bundle(base).nbytes()


def test_in_place_it_replaces_the_map_once(
    base: Path, updated: Path, delta: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(base, tmp_path / "map"))
    apply_delta(place, delta, place)
    assert manifest_digest(place) == manifest_digest(updated)
    with pytest.raises(BundleError, match="is up to date"):
        apply_delta(place, delta, place)


def test_another_base_is_refused_and_left_alone(delta: Path, base: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(base, tmp_path / "map"))
    with extend_bundle(place) as writer:
        writer.manifest.name = "another"
    before = manifest_digest(place)
    with pytest.raises(BundleError, match="is for another map") as caught:
        apply_delta(place, delta, place)
    assert "\n" not in str(caught.value)
    assert manifest_digest(place) == before
    damaged = Path(shutil.copytree(base, tmp_path / "damaged"))
    file = damaged / layout.VLAD_MEAN  # which no patch makes
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="damaged, copy the bundle again"):
        apply_delta(damaged, delta, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_spoilt_delta_makes_no_map(base: Path, delta: Path, tmp_path: Path) -> None:
    good = delta.read_bytes()
    spoilt, made = tmp_path / "spoilt", tmp_path / "made"
    rng = np.random.default_rng(0)
    cuts = [good[:n] for n in (0, 10, 60, len(good) // 2, len(good) - 30)]
    header = good.index(lzma.compress(b"")[:6])
    places = [*rng.integers(0, header, FLIPS), *rng.integers(header, len(good), FLIPS)]
    for place in map(int, places):
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(rng.integers(8))
        cuts.append(bytes(flipped))
    refused = 0
    for content in cuts:
        spoilt.write_bytes(content)
        try:
            apply_delta(base, spoilt, made)
        except EdgeRelocError as error:
            assert "\n" not in str(error)
            assert not made.exists()
            refused += 1
        else:  # of the stream's end, which no file needs
            assert manifest_digest(made) == manifest_digest(base.with_name("updated"))
            shutil.rmtree(made)
    assert refused > 0.9 * len(cuts)
    assert not [name for name in os.listdir(tmp_path) if "writing" in name]


def _of_version(header: dict[str, Any]) -> None:
    header["version"] = [1, "x"]


def _of_steps(header: dict[str, Any]) -> None:
    header["patches"][1].update(item_bytes=1, steps=header["patches"][1]["nbytes"])


@pytest.mark.parametrize(
    ("change", "words"),
    [(_of_version, r"expected \[major, minor\]"), (_of_steps, "does not add up")],
)
def test_a_header_that_lies_is_refused(
    change: Callable[[dict[str, Any]], None], words: str, base: Path, delta: Path, tmp_path: Path
) -> None:
    content, start = delta.read_bytes(), len(MAGIC) + 4
    (length,) = struct.unpack("<I", content[len(MAGIC) : start])
    header = json.loads(content[start : start + length])
    change(header)
    text = json.dumps(header).encode()
    packed = MAGIC + struct.pack("<I", len(text)) + text + content[start + length :]
    delta.write_bytes(packed)
    with pytest.raises(BundleError, match=words):
        apply_delta(base, delta, tmp_path / "made")


def test_rows_that_are_no_numbers_of_points() -> None:
    with pytest.raises(BundleError, match="rows of 3 bytes, expected 4"):
        renumber(as_items(bytes(6), 3), np.zeros(1, np.int32))


def test_no_file_is_made_that_memory_does_not_hold(
    base: Path, delta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "MEMORY_OF_FILE", 1 << 40)
    with pytest.raises(BundleError, match=r"too much for the \d+ of this machine's memory"):
        apply_delta(base, delta, tmp_path / "made")


def test_who_must_be_signed_is_signed(base: Path, updated: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signs: extra 'sign'")
    key, other = tmp_path / "site.key", tmp_path / "other.key"
    for path in (key, other):
        assert programs.main(["sign", "--new-key", str(path)]) == 0
    public = tmp_path / "site.key.pub"
    signed = Path(shutil.copytree(updated, tmp_path / "signed"))
    delta = tmp_path / "delta"

    def apply(name: str) -> Path:
        apply_delta(base, delta, tmp_path / name, require_signed=public)
        return tmp_path / name

    delta.write_bytes(make_delta(open_bundle(base), open_bundle(signed)))
    with pytest.raises(BundleError, match="is not signed"):
        apply("nobody")
    assert programs.main(["sign", "--delta", str(delta), "--key", str(key)]) == 0
    with pytest.raises(BundleError, match="the map that it makes is not signed"):
        apply("map unsigned")
    assert programs.main(["sign", "--map", str(signed), "--key", str(key)]) == 0
    delta.write_bytes(make_delta(open_bundle(base), open_bundle(signed)))
    with pytest.raises(BundleError, match="no signature of this delta"):
        apply("signature of before")
    assert programs.main(["sign", "--delta", str(delta), "--key", str(other)]) == 0
    with pytest.raises(BundleError, match="no signature of this delta"):
        apply("by somebody else")
    assert programs.main(["sign", "--delta", str(delta), "--key", str(key)]) == 0
    open_bundle(apply("good"), require_signed=public)
    assert signature_file(delta).stat().st_size == 64


@pytest.mark.parametrize("key", [None, "site.key.pub"])
def test_a_pipe_is_no_delta(base: Path, tmp_path: Path, key: str | None) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="not a file"):
        apply_delta(base, tmp_path / "pipe", tmp_path / "out", require_signed=key and Path(key))


def test_what_a_killed_apply_left_goes_with_the_next(
    base: Path, updated: Path, delta: Path, tmp_path: Path
) -> None:
    """Killed after the exchange: the next one has nothing to do, and clears up all the same."""
    there = Path(shutil.copytree(updated, tmp_path / "map"))
    left = Path(shutil.copytree(base, tmp_path / ".map.abcd.writing"))
    with pytest.raises(BundleError, match="is up to date"):
        apply_delta(there, delta, there)
    assert not left.exists()
