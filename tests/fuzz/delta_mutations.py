"""Deltas to spoilt maps, and spoilt deltas, whose hashes agree with what they make."""

from __future__ import annotations

import json
import lzma
import shutil
import struct
import tempfile
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from bundle_mutations import MANIFEST, mutate, other_bytes, spoil_values

from edge_reloc.delta.delta_file import MAGIC


def mutate_delta(random: Random, base: Path, delta: Path) -> str:
    """Write a delta of a map to a spoilt copy of it; what was done, in words."""
    with tempfile.TemporaryDirectory() as folder:
        updated = Path(folder, "updated")
        shutil.copytree(base, updated)
        done = mutate(random, updated)
        header, stream = _delta_of(random, base, updated)
    how = random.choice(("as it is",) * 4 + ("header", "stream", "packed"))
    if how == "header":
        done += f"; header: {spoil_values(random, header)}"
    if how == "stream":
        stream = bytes(other_bytes(random, bytearray(stream)))
        done += "; other bytes in the stream"
    packed = lzma.compress(stream, preset=0)
    if how == "packed":
        packed = bytes(other_bytes(random, bytearray(packed)))
        done += "; other bytes in the packed stream"
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    delta.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + packed)
    return done


def _delta_of(random: Random, base: Path, updated: Path) -> tuple[dict[str, Any], bytes]:
    """Header and stream; files stand in them as a whole, or in runs of what the base has."""
    after = {p.relative_to(updated).as_posix(): p for p in updated.rglob("*") if p.is_file()}
    patches, stream = [], b""
    for name in sorted(after, key=lambda name: (name != MANIFEST, name)):
        new, old = after[name].read_bytes(), (base / name).read_bytes()
        if new == old and name != MANIFEST:
            continue
        item = random.choice((1, 4)) if len(new) % 4 == 0 else 1
        same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
        copied = same // item
        steps = struct.pack("<3i", 0, copied, len(new) // item - copied)
        patches.append(
            {
                "name": name,
                "item_bytes": item,
                "base_head_bytes": len(old) % item,
                "steps": 1,
                "new_items": len(new) // item - copied,
                "nbytes": len(new),
                "renumbered": random.random() < (0.5 if name.endswith("id.npy") else 0.01),
            }
        )
        stream += steps + new[copied * item :]
    header = {
        "version": [1, 0],
        "base_sha256": sha256((base / MANIFEST).read_bytes()).hexdigest(),
        "updated_sha256": sha256((updated / MANIFEST).read_bytes()).hexdigest(),
        "patches": patches,
    }
    return header, stream
