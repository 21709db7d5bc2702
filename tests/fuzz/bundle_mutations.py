"""Ways to spoil a map bundle so that its sizes and hashes still agree."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

MANIFEST = "manifest.json"
ODD_NUMBERS = (
    *(0, 1, -1, 2, 15, 16, 255, 65_536, 2**24, 2**31 - 1, 2**31, 2**62, -(2**63), 10**30, 10**400),
    *(0.5, -0.5, 1e-300, 1e-7, 1e9, 1e38, 1e308, float("nan"), float("inf"), float("-inf")),
)
ODD_VALUES = (
    *(None, True, False, "", "sift", "dinov2", "vlad", "cells", "a\nb", "\x1b[2J", "\ud800"),
    *("x" * 3000, "../../x", "nets/cells.onnx", "points/xyz.npy", [], {}, [[]], [0], [3, 1], [-1]),
)
SHARES = (1.0, 0.3, 0.01)  # of an array's numbers that are overwritten; or a single one
DTYPES = ("<f4", "<f2", "<f8", ">f4", "<i4", "<i8", "|i1", "|u1", "|b1", "<c8", "|S3", "<M8[s]")

#: a word about what was done
Mutation = Callable[[Random, Path, dict[str, Any]], str]


def mutate(random: Random, bundle: Path) -> str:
    """Spoil a bundle in place, once or twice; what was done, in words.

    Files are written anew, never into, so that they may be hard links.
    """
    manifest = json.loads((bundle / MANIFEST).read_text())
    done = [
        random.choice(MUTATIONS)(random, bundle, manifest) for _ in range(random.choice((1, 1, 2)))
    ]
    text = json.dumps(manifest)
    write(bundle / MANIFEST, text.encode("utf-8", "surrogatepass"))
    return "; ".join(done)


def write(path: Path, data: bytes) -> None:
    """A file of its own in place of a link."""
    path.unlink()
    path.write_bytes(data)


def _replace(bundle: Path, manifest: dict[str, Any], name: str, data: bytes) -> None:
    write(bundle / name, data)
    entry = _entry(manifest, name)
    if entry is not None:
        entry.update(nbytes=len(data), sha256=sha256(data).hexdigest())


def _entry(manifest: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Of a file, unless it is spoilt already."""
    files = manifest.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    return entry if isinstance(entry, dict) else None


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON tree with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], (dict, list)):
            found += _places(value[key])
    return found


def _spoil_manifest(random: Random, bundle: Path, manifest: dict[str, Any]) -> str:
    read = [key for key in manifest if key not in ("statistics", "parity", "generator")]
    return f"manifest: {spoil_values(random, {key: manifest[key] for key in read})}"


def spoil_values(random: Random, values: dict[str, Any]) -> str:
    """Spoil a JSON tree in place, below its first level; what was done, in words."""
    places = _places(values)[len(values) :]
    holder, key = random.choice(places)
    how = random.choice(("number", "number", "value", "delete", "swap", "scale"))
    if how == "delete" and isinstance(holder, dict):
        del holder[key]
        return f"delete {key}"
    if how == "swap":
        other, its = random.choice(places)
        # By text: one may lie within the other.
        holder[key], other[its] = (
            json.loads(json.dumps(other[its])),
            json.loads(json.dumps(holder[key])),
        )
        return f"swap {key} and {its}"
    before = holder[key]
    if how == "scale" and isinstance(before, (int, float)) and not isinstance(before, bool):
        holder[key] = type(before)(before * random.choice((-1, 2, 10, 1000)))
    else:
        holder[key] = random.choice(ODD_NUMBERS if how == "number" else ODD_VALUES)
    return f"{key} {str(before)[:30]} -> {str(holder[key])[:30]}"


def _spoil_array(random: Random, bundle: Path, manifest: dict[str, Any]) -> str:
    return spoil_array(random, bundle, manifest, random.choice(_files(bundle, ".npy")))


def spoil_array(random: Random, bundle: Path, manifest: dict[str, Any], name: str) -> str:
    """Another array in place of one that `manifest` lists; what was done, in words."""
    try:
        array = np.load(bundle / name)
    except (ValueError, EOFError):  # spoilt before
        return "nothing"
    how = random.choice(
        ("numbers", "numbers", "numbers", "rows", "shape", "dtype", "order", "bytes")
    )
    if how == "numbers" and array.size:
        array = _other_numbers(random, array)
    elif how == "rows":
        rows = random.choice(
            (0, 1, len(array) // 2, len(array) - 1, len(array) + 1, 3 * len(array))
        )
        array = np.resize(array, (max(rows, 0), *array.shape[1:]))
    elif how == "shape":
        shapes: tuple[tuple[int, ...], ...] = (
            (-1,),
            (-1, 1),
            (1, -1),
            (*array.shape, 1),
            array.shape[::-1],
        )
        array = array.reshape(random.choice(shapes))
    elif how == "dtype":
        with np.errstate(all="ignore"):
            array = array.astype(np.int64).astype(np.dtype(random.choice(DTYPES)))
    elif how == "order":
        array = np.asfortranarray(array)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    data = bytearray(stream.getvalue())
    if how == "bytes":
        data = other_bytes(random, data)
    _replace(bundle, manifest, name, bytes(data))
    entry = _entry(manifest, name)
    if entry is not None and random.random() < 0.9:
        entry.update(dtype=str(array.dtype), shape=list(array.shape))
    return f"{name}: {how} {array.dtype} {array.shape}"


def _other_numbers(random: Random, array: np.ndarray) -> np.ndarray:
    """Some of them, or all, are another."""
    spoilt = array.copy()
    flat = spoilt.reshape(-1)
    number = random.choice(ODD_NUMBERS)
    if array.dtype.kind in "iu":
        ends = np.iinfo(array.dtype)
        number = min(max(int(number), ends.min), ends.max) if abs(number) < 1e300 else ends.max
    count = max(1, int(random.choice((*SHARES, 0.0)) * len(flat)))
    rows = np.random.default_rng(random.getrandbits(32)).integers(0, len(flat), count)
    with np.errstate(all="ignore"):
        flat[rows] = float("inf") if array.dtype.kind == "f" and abs(number) > 1e308 else number
    return spoilt


def _spoil_network(random: Random, bundle: Path, manifest: dict[str, Any]) -> str:
    names = _files(bundle, ".onnx")
    name = random.choice(names)
    data = bytearray((bundle / name).read_bytes())
    how = random.choice(("bytes", "bytes", "head", "head", "cut", "swap"))
    if how == "swap":
        data = bytearray((bundle / random.choice(names)).read_bytes())
    elif how == "cut":
        del data[random.randrange(len(data)) :]
    elif how == "bytes":
        data = other_bytes(random, data)
    else:  # layers stand before the weights
        end = min(20_000, len(data))
        data[:end] = other_bytes(random, data[:end])
    _replace(bundle, manifest, name, bytes(data))
    return f"{name}: {how}"


def other_bytes(random: Random, data: bytearray) -> bytearray:
    """One to 64 of them are others; in place."""
    for _ in range(random.choice((1, 2, 8, 64))):
        if data:
            data[random.randrange(len(data))] = random.choice(
                (0, 1, 127, 128, 255, random.randrange(256))
            )
    return data


def _swap_files(random: Random, bundle: Path, manifest: dict[str, Any]) -> str:
    one, other = random.sample(_files(bundle), 2)
    first, second = (bundle / one).read_bytes(), (bundle / other).read_bytes()
    _replace(bundle, manifest, one, second)
    _replace(bundle, manifest, other, first)
    entry, its = _entry(manifest, one), _entry(manifest, other)
    if entry is not None and its is not None and random.random() < 0.7:
        manifest["files"].update({one: its, other: entry})
    return f"swap {one} and {other}"


def _files(bundle: Path, suffix: str = "") -> list[str]:
    """Those of the folder: the manifest may be spoilt already."""
    paths = sorted(path for path in bundle.rglob(f"*{suffix}") if path.is_file())
    names = [path.relative_to(bundle).as_posix() for path in paths]
    return [name for name in names if name != MANIFEST]


MUTATIONS: tuple[Mutation, ...] = (
    *(_spoil_manifest, _spoil_manifest, _spoil_manifest, _spoil_array, _spoil_array, _spoil_array),
    *(_spoil_network, _spoil_network, _swap_files),
)
