"""Open a bundle: large arrays memory-mapped, sizes checked, no code run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from ..errors import BundleError
from ..files import unfinished
from .array_file import ArrayFile, MappedFile, open_array
from .exchange import recover
from .layout import ENGINES, MANIFEST, SIGNATURE
from .manifest import FileEntry, Manifest, decode_manifest, manifest_bytes
from .schema import check_array
from .signing import check_signature

MOST_FOLDERS = 8  # within each other: ours have one


class MapBundle:
    """A map on disk. `used` collects the files that were opened.

    checked, checked_networks: files whose contents were found to fit the rest of the bundle,
    as arrays and as networks.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.used: set[str] = set()
        self.checked: set[str] = set()
        self.checked_networks: set[str] = set()
        self._mapped: dict[str, MappedFile] = {}

    def apart(self) -> MapBundle:
        """The same map with a `used` of its own, to see what somebody opens."""
        other = MapBundle(self.directory, self.manifest)
        other.checked, other.checked_networks = self.checked, self.checked_networks
        return other

    def has(self, name: str) -> bool:
        """Whether the bundle lists this file."""
        return name in self.manifest.files

    def path(self, name: str) -> Path:
        """Path of a listed file."""
        if name not in self.manifest.files:
            raise BundleError(
                f"{self.directory}: this bundle has no '{name}'; "
                f"'edge-reloc inspect {self.directory}' lists what it has"
            )
        self.used.add(name)
        return self.directory / name

    def array(self, name: str) -> NDArray[Any]:
        """An array, read-only: a copy where it is small, else a memory map."""
        path = self.path(name)
        entry = self.manifest.files[name]
        try:
            _check_version(path)
            array, mapped = self._open_array(path)
        except Exception as error:  # numpy's header parser raises unrelated classes
            raise BundleError(f"{path}: not a readable array ({error})") from error
        if (
            entry.shape is None
            or str(array.dtype) != entry.dtype
            or (tuple(array.shape) != tuple(entry.shape))
        ):
            raise BundleError(
                f"{path}: found {array.dtype} {tuple(array.shape)}, "
                f"expected {entry.dtype} {entry.shape and tuple(entry.shape)}"
            )
        if mapped is not None:
            self._mapped[name] = mapped
        if name not in self.checked:
            check_array(self.manifest, name, array, str(path))
            self.checked.add(name)
        return array

    def _open_array(self, path: Path) -> ArrayFile:
        """What a subclass replaces to keep arrays elsewhere."""
        return open_array(path)

    def check_unchanged(self) -> None:
        """BundleError when a mapped file was written to since it was opened."""
        for mapped in self._mapped.values():
            mapped.check()

    @property
    def fingerprint(self) -> str:
        """sha256 of manifest.json, hexadecimal. Raises BundleError."""
        return hashlib.sha256(manifest_bytes(self.directory)).hexdigest()

    def nbytes(self, names: set[str] | None = None) -> int:
        """Bytes of the named files, or of the whole bundle."""
        files = self.manifest.files
        return sum(files[name].nbytes for name in (files if names is None else names))

    def verify(self) -> None:
        """Compare every file's sha256 with the manifest; BundleError on the first."""
        for name, entry in self.manifest.files.items():
            try:
                found = hash_file(self.directory / name)
            except OSError as error:
                raise BundleError(
                    f"{self.directory / name}: cannot be read ({error.strerror})"
                ) from error
            if found != entry.sha256:
                raise BundleError(
                    f"{self.directory / name}: sha256 is {found[:12]}…, expected "
                    f"{entry.sha256[:12]}…; the file is damaged, copy the bundle again"
                )


def hash_file(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_bundle(
    directory: str | Path, *, verify: bool = False, require_signed: str | Path | None = None
) -> MapBundle:
    """Open a bundle directory. Raises BundleError; reads sizes, not contents.

    verify: compare every file with its sha256. require_signed: file of the public key whose
    holder must have signed the manifest; then every file is verified, too. Raises ConfigError
    when there is no such key, MissingPackageError without `cryptography`.
    """
    directory = Path(directory)
    recover(directory)
    content = manifest_bytes(directory)
    if require_signed is not None:  # before anything else of the bundle is read
        check_signature(directory, content, Path(require_signed))
        verify = True
    manifest = decode_manifest(content, str(directory / MANIFEST))
    try:
        for name, entry in manifest.files.items():
            _check_size(directory, name, entry)
        for relative in _inside(directory):
            _check_listed(directory, relative, manifest)
    except OSError as error:  # a path that is too long, a folder that cannot be read
        raise BundleError(f"{directory}: cannot be read ({error})") from error
    bundle = MapBundle(directory, manifest)
    if verify:
        bundle.verify()
    return bundle


def _inside(directory: Path) -> Iterator[str]:
    """Whatever is in a folder but folders: relative paths. Raises BundleError, OSError."""
    folders = [""]
    while folders:
        within = folders.pop()
        for name in sorted(os.listdir(directory / within)):
            relative = f"{within}{name}"
            path = directory / relative
            if path.is_dir() and not path.is_symlink():
                if relative.count("/") >= MOST_FOLDERS:
                    raise BundleError(f"{path}: a folder within {MOST_FOLDERS} others; remove it")
                folders.append(f"{relative}/")
            else:
                yield relative


def unlisted(directory: Path, listed: Container[str]) -> Iterator[Path]:
    """Files below a bundle's folder that are no part of it. Raises BundleError, OSError."""
    for name in _inside(directory):
        if name not in listed and not _beside_the_map(name):
            yield directory / name


def _beside_the_map(name: str) -> bool:
    """Whether a file is one that no manifest lists."""
    beside = (MANIFEST, SIGNATURE, unfinished(SIGNATURE))  # the last: of a signer that was killed
    return name in beside or name.split("/")[0] == ENGINES


def _check_listed(directory: Path, name: str, manifest: Manifest) -> None:
    if _beside_the_map(name):
        if (directory / name).is_symlink():
            raise _leads_out(directory / name)
    elif name not in manifest.files:
        raise BundleError(f"{directory / name}: not listed in {MANIFEST}; remove it")


def _check_version(path: Path) -> None:
    """ValueError for a header that may say it is gigabytes long, which numpy would read."""
    with open(path, "rb") as stream:
        magic, version = stream.read(6), stream.read(2)
    if magic == b"\x93NUMPY" and version != b"\x01\x00":
        raise ValueError(f"of version {version[0]}.{version[1]}, expected 1.0")


def _leads_out(path: Path) -> BundleError:
    return BundleError(
        f"{path}: leads out of the bundle through a symbolic link; copy the bundle with its files"
    )


def _check_size(directory: Path, name: str, entry: FileEntry) -> None:
    path = directory / name
    inside = [path, *path.parents][: len(PurePosixPath(name).parts)]
    if any(step.is_symlink() for step in inside):
        raise _leads_out(path)
    if not path.is_file():
        raise BundleError(f"{path}: listed in {MANIFEST} but missing; copy the bundle again")
    size = path.stat().st_size
    if size != entry.nbytes:
        raise BundleError(
            f"{path}: found {size} bytes, expected {entry.nbytes}; "
            f"the file is damaged, copy the bundle again"
        )
