"""The file of a delta: a header in JSON, then one xz stream of all that is new.

    edge_reloc.delta\\n   4 bytes: length of the header   header   xz stream

The stream holds, patch after patch, the first bytes of a file, the steps of its runs and the
items that are new. Read in order, it needs memory for the one file that is being made.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np

from ..bundle.fields import Range, is_newer, read_fields, read_json
from ..bundle.manifest import MOST_BYTES
from ..bundle.signing import check_signed
from ..errors import BundleError, ConfigError
from .runs import SHORTEST_COPY_BYTES, Runs

MAGIC = b"edge_reloc.delta\n"
VERSION = (1, 0)
LARGEST_ITEM = 1 << 20  # bytes of a row
MOST_MEMORY = 64 << 20  # that unpacking may take, whatever the stream asks for

Count = Annotated[int, Range(at_least=0, at_most=1 << 40)]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """How one file of the updated bundle is made of the base's file of that name."""

    name: str
    #: of a row of an array, or of what other files are compared by
    item_bytes: Annotated[int, Range(at_least=1, at_most=LARGEST_ITEM)]
    #: of the base's file that are skipped, and of the updated one's that stand in the stream
    base_head_bytes: Count = 0
    head_bytes: Count = 0
    steps: Count = 0
    new_items: Count = 0
    #: of the updated file
    nbytes: Count = 0
    #: the base's items are numbers of points, and those of points that went are left out first
    renumbered: bool = False


@dataclass(frozen=True, kw_only=True)
class DeltaHeader:
    """Which bundle it applies to, and what comes out."""

    #: of manifest.json, hexadecimal
    base_sha256: str
    updated_sha256: str
    #: hexadecimal, where the updated bundle is signed
    signature: str | None = None
    #: in the order of the stream; files that are not named stay as they are
    patches: tuple[Patch, ...] = ()

    def __post_init__(self) -> None:
        for name, length in (("base_sha256", 64), ("updated_sha256", 64), ("signature", 128)):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(f"[0-9a-f]{{{length}}}", value):
                raise ConfigError(f"{name} is '{value}', expected {length} hexadecimal digits")


class DeltaReader:
    """An open delta; `content` must be asked for each patch in turn."""

    def __init__(self, path: Path, stream: BinaryIO, header: DeltaHeader) -> None:
        self.path, self.header = path, header
        self._stream = stream
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY)

    def content(self, patch: Patch) -> tuple[bytes, Runs]:
        """First bytes of a file and the runs of the rest. Raises BundleError."""
        items, copies = patch.nbytes // patch.item_bytes, patch.nbytes // SHORTEST_COPY_BYTES
        if patch.head_bytes > patch.nbytes or patch.new_items > items or patch.steps - 1 > copies:
            raise BundleError(f"{self.path}: damaged, its patch of {patch.name} does not add up")
        head = self._read(patch.head_bytes)
        steps = np.frombuffer(self._read(12 * patch.steps), "<i4").reshape(-1, 3)
        _, copied, taken = steps.sum(axis=0, dtype=np.int64).tolist()
        if patch.head_bytes + (copied + taken) * patch.item_bytes != patch.nbytes or (
            taken != patch.new_items
        ):
            raise BundleError(f"{self.path}: damaged, its patch of {patch.name} does not add up")
        literal = np.frombuffer(self._read(patch.new_items * patch.item_bytes), np.uint8)
        return head, Runs(steps.astype(np.int32), literal.reshape(-1, patch.item_bytes))

    def _read(self, count: int) -> bytes:
        out = bytearray()
        unpacker = self._unpacker
        try:
            while len(out) < count and not unpacker.eof:
                packed = self._stream.read(1 << 16) if unpacker.needs_input else b""
                if unpacker.needs_input and not packed:
                    break
                out += unpacker.decompress(packed, count - len(out))
        except (lzma.LZMAError, MemoryError) as error:
            raise BundleError(f"{self.path}: damaged ({error}); copy the delta again") from error
        if len(out) < count:
            raise BundleError(f"{self.path}: ends too early; copy the delta again")
        return bytes(out)


def signature_file(path: Path) -> Path:
    """FILE.sig, 64 bytes as OpenSSL reads and writes them."""
    return path.with_name(path.name + ".sig")


def open_delta(path: Path, stream: BinaryIO, require_signed: Path | None = None) -> DeltaReader:
    """Read a delta's header. Raises BundleError, ConfigError for the key.

    require_signed: file of the public key whose holder must have signed the file.
    """
    if require_signed is not None:  # before anything of it is read
        cure = f"edge-reloc sign --delta {path.name} --key KEY"
        check_signed(
            path,
            stream.read(),
            signature_file(path),
            require_signed,
            cure,
            signed=path.name,
        )
        stream.seek(0)
    start = stream.read(len(MAGIC) + 4)
    if not start.startswith(MAGIC) or len(start) != len(MAGIC) + 4:
        raise BundleError(f"{path}: not a delta of 'edge-reloc update' or 'diff'")
    (length,) = struct.unpack("<I", start[len(MAGIC) :])
    if length > MOST_BYTES:
        raise BundleError(f"{path}: damaged, its header would have {length} bytes")
    try:
        values = read_json(stream.read(length))
    except ValueError as error:
        raise BundleError(f"{path}: damaged ({error}); copy the delta again") from error
    version = values.pop("version", None) if isinstance(values, dict) else None
    lenient = is_newer(version, VERSION, f"{path}: format of deltas", "make the delta again")
    header = read_fields(DeltaHeader, values, str(path), lenient=lenient)
    return DeltaReader(path, stream, header)


def delta_bytes(header: DeltaHeader, contents: list[tuple[bytes, Runs]]) -> bytes:
    """The whole file; contents belong to the header's patches."""
    values = {"version": list(VERSION), **asdict(header)}
    text = json.dumps(values, separators=(",", ":")).encode()
    raw = b"".join(
        head + runs.steps.astype("<i4").tobytes() + runs.literal.tobytes()
        for head, runs in contents
    )
    return MAGIC + struct.pack("<I", len(text)) + text + lzma.compress(raw, preset=6)
