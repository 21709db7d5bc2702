"""Make the updated bundle of its base and a delta: the same bytes, or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from ..arrays import I32
from ..bundle import BundleWriter, Manifest, MapBundle, layout, open_bundle
from ..bundle.exchange import clear_leftovers, link_or_copy, one_at_a_time
from ..bundle.manifest import MOST_BYTES, decode_manifest, manifest_bytes
from ..bundle.reader import hash_file
from ..bundle.signing import is_signed
from ..errors import BundleError
from ..files import cannot_write, open_file
from .delta_file import DeltaReader, Patch, open_delta
from .renumbering import RENUMBERED, as_items, new_numbers, renumber
from .runs import Runs, follow_runs

MEMORY_OF_FILE = 4  # times its size: the old one, what is new, and both put together


def apply_delta(
    base: Path, delta: Path, output: Path, *, require_signed: Path | None = None
) -> None:
    """Write the updated bundle, whose manifest has the sha256 that the delta says.

    Raises BundleError for another base, a damaged file or a missing signature, ConfigError for
    the key, DiskError; then `output` is as it was.
    """
    try:
        stream = open_file(delta)  # alone: what follows may raise OSError of its own
    except OSError as error:
        raise BundleError(f"{delta}: cannot be read ({error.strerror})") from error
    with stream, one_at_a_time(base):
        clear_leftovers(output.resolve())  # also where it says below that this was applied before
        reader = open_delta(delta, stream, require_signed)
        bundle = open_bundle(base)
        content = _manifest(bundle, reader)
        signature = reader.header.signature
        if require_signed is not None and not (
            signature is not None and is_signed(content, bytes.fromhex(signature), require_signed)
        ):
            raise BundleError(
                f"{delta}: the map that it makes is not signed by {require_signed}; whoever holds "
                f"the key makes the delta with 'edge-reloc update --key KEY'"
            )
        manifest = decode_manifest(content, f"{delta}: {layout.MANIFEST}")
        with _Updated(output, manifest, content, reader) as writer:
            assert isinstance(writer, _Updated)
            writer.fill(bundle)


def _manifest(base: MapBundle, reader: DeltaReader) -> bytes:
    """manifest.json of the updated bundle. Raises BundleError."""
    header, where = reader.header, reader.path
    before = manifest_bytes(base.directory)
    found = hashlib.sha256(before).hexdigest()
    if found == header.updated_sha256:
        raise BundleError(f"{base.directory}: is up to date, {where} was applied before")
    if found != header.base_sha256:
        raise BundleError(
            f"{where}: is for another map, whose manifest has sha256 {header.base_sha256[:12]}…, "
            f"{base.directory} has {found[:12]}…; apply the deltas between them first, or take "
            f"the whole map"
        )
    if not header.patches or header.patches[0].name != layout.MANIFEST:
        raise BundleError(f"{where}: damaged, it does not begin with the manifest")
    if header.patches[0].nbytes > MOST_BYTES:
        raise BundleError(f"{where}: damaged, its manifest would be too large")
    head, runs = reader.content(header.patches[0])
    content = _made(where, before, header.patches[0], head, runs, None)
    if hashlib.sha256(content).hexdigest() != header.updated_sha256:
        raise BundleError(f"{where}: damaged, it makes another manifest than it says")
    return content


def _made(
    where: Path, base: bytes, patch: Patch, head: bytes, runs: Runs, numbers: I32 | None
) -> bytes:
    """A patched file. where: the delta. Raises BundleError."""
    try:
        if patch.base_head_bytes > len(base):
            raise BundleError("it skips more than its base has")
        items = as_items(base[patch.base_head_bytes :], patch.item_bytes)
        if patch.renumbered:
            if numbers is None or patch.name not in RENUMBERED:
                raise BundleError("it renumbers, and nothing says how")
            items = renumber(items, numbers)
        return head + follow_runs(items, runs)
    except BundleError as error:
        raise BundleError(f"{where}: damaged, its patch of {patch.name}: {error}") from error


class _Updated(BundleWriter):
    """Writes the manifest's very bytes, and its signature."""

    def __init__(
        self, directory: Path, manifest: Manifest, content: bytes, reader: DeltaReader
    ) -> None:
        super().__init__(directory, manifest)
        self._expected = dict(manifest.files)
        self._content, self._reader = content, reader

    def fill(self, base: MapBundle) -> None:
        """All files of the manifest, each compared with its sha256."""
        where, patches = self._reader.path, self._reader.header.patches[1:]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        numbers: I32 | None = None
        for patch in patches:
            entry = self._expected.get(patch.name)
            if entry is None or entry.nbytes != patch.nbytes:
                raise BundleError(f"{where}: damaged, its patch of '{patch.name}' fits no file")
            if MEMORY_OF_FILE * patch.nbytes > memory:
                raise BundleError(
                    f"{where}: '{patch.name}' would have {patch.nbytes} bytes, which is too much "
                    f"for the {memory} of this machine's memory; take the whole map"
                )
            old = base.path(patch.name).read_bytes() if base.has(patch.name) else b""
            head, runs = self._reader.content(patch)
            self.add_bytes(patch.name, _made(where, old, patch, head, runs, numbers))
            here = base.directory / patch.name
            self._check(patch.name, f"{where} or {here}: damaged, copy them again")
            if patch.name == layout.XYZ and old:
                numbers = new_numbers(runs.steps, len(base.array(layout.XYZ)))
        for name in self._expected.keys() - {patch.name for patch in patches}:
            self._take_over(base, name)
            self._check(name, f"{base.directory / name}: damaged, copy the bundle again")

    def _take_over(self, base: MapBundle, name: str) -> None:
        """A file that did not change."""
        if not base.has(name):
            raise BundleError(f"{self._reader.path}: damaged, it does not bring '{name}'")
        target = self.work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        same = base.directory.resolve() == self.directory.resolve()
        try:  # a bundle of its own shares no files
            (link_or_copy if same else shutil.copyfile)(base.path(name), target)
        except OSError as error:
            raise cannot_write(self.directory / name, error, self._expected[name].nbytes) from error

    def _check(self, name: str, wrong: str) -> None:
        if hash_file(self.work / name) != self._expected[name].sha256:
            raise BundleError(f"{wrong} ('{name}' is not the file that the manifest lists)")

    def _publish(self) -> None:
        assert self._folder is not None
        signature = self._reader.header.signature
        files = {layout.MANIFEST: self._content}
        if signature is not None:
            files[layout.SIGNATURE] = bytes.fromhex(signature)
        for name, content in files.items():
            with open(self.work / name, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        self._folder.publish()
