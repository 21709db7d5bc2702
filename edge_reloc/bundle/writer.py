"""Write a bundle: into a neighbour folder, flushed, then exchanged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..files import cannot_write
from .exchange import WorkFolder, clear_leftovers, link_or_copy, one_at_a_time
from .layout import MANIFEST
from .manifest import FileEntry, Manifest, check_file_name, manifest_bytes
from .reader import hash_file, open_bundle, unlisted


class BundleWriter:
    """Context manager; the bundle appears whole when the block ends well."""

    def __init__(self, directory: str | Path, manifest: Manifest) -> None:
        self.directory = Path(directory)
        self.manifest = manifest
        self._folder: WorkFolder | None = None

    def __enter__(self) -> BundleWriter:
        self._folder = _work_folder(self.directory)
        try:
            self._fill(self.work)
        except BaseException:
            self._close()
            raise
        return self

    def _close(self) -> None:
        if self._folder is not None:
            self._folder.close()
        self._folder = None

    def _fill(self, work: Path) -> None:
        """What a subclass puts into the folder at first."""

    @property
    def work(self) -> Path:
        """The folder that is being filled."""
        if self._folder is None:
            raise BundleError(f"{self.directory}: the writer is not open")
        return self._folder.path

    def add_array(self, name: str, array: NDArray[Any], unit: str | None = None) -> None:
        """Write an array as .npy and list it."""
        stream = io.BytesIO()
        np.save(stream, np.asarray(array, order="C"), allow_pickle=False)
        self.add_bytes(name, stream.getvalue())
        entry = self.manifest.files[name]
        self.manifest.files[name] = FileEntry(
            sha256=entry.sha256,
            nbytes=entry.nbytes,
            dtype=str(array.dtype),
            shape=tuple(array.shape),
            unit=unit,
        )

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write a file and list it."""
        check_file_name(name, str(self.directory))
        path = self.work / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise cannot_write(self.directory / name, error, len(data)) from error
        self.manifest.files[name] = FileEntry(sha256=hash_file(path), nbytes=len(data))

    def remove(self, name: str) -> None:
        """Drop a listed file, if it is there."""
        if self.manifest.files.pop(name, None) is not None:
            (self.work / name).unlink()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                try:
                    self._publish()
                except OSError as failure:
                    total = sum(entry.nbytes for entry in self.manifest.files.values())
                    raise cannot_write(self.directory, failure, total) from failure
        finally:
            self._close()

    def _publish(self) -> None:
        assert self._folder is not None
        with open(self.work / MANIFEST, "wb") as stream:
            stream.write(self.manifest.to_json().encode())
            stream.flush()
            os.fsync(stream.fileno())
        self._folder.publish()


def check_destination(directory: str | Path) -> None:
    """BundleError where no bundle could be written: before long work, not after it."""
    _work_folder(Path(directory)).close()


def _work_folder(directory: Path) -> WorkFolder:
    """Where a bundle is filled. Raises BundleError."""
    try:
        target = directory.resolve()  # a link to a bundle stays one
        clear_leftovers(target)
        if directory.exists():
            _check_replaceable(directory, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        return WorkFolder(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before 3.13
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{directory}: cannot be written ({reason})") from error


def _check_replaceable(directory: Path, target: Path) -> None:
    """BundleError unless a bundle, and nothing else, stands there, or an empty folder.

    Whatever lies in the folder goes with it: nothing that somebody put there may.
    """
    bundle = directory.is_dir() and (directory / MANIFEST).is_file()
    if not bundle and not (directory.is_dir() and not any(directory.iterdir())):
        raise BundleError(
            f"{directory}: exists and is not a map bundle; it is left as it is, name another folder"
        )
    if os.path.ismount(target):
        raise BundleError(
            f"{directory}: a disk is mounted there, which no map can take the place of; name a "
            f"folder in it"
        )
    with contextlib.suppress(OSError):  # whoever stands nowhere is not in the way
        here = Path(os.getcwd())
        if target in (here, *here.parents):
            raise BundleError(
                f"{directory}: this program stands in the folder that it would replace; call it "
                f"from elsewhere (cd {target.parent})"
            )
    listed = _listed(directory)
    for path in unlisted(directory, listed) if bundle else ():
        raise BundleError(
            f"{path}: is no part of the map bundle and would go with it; move it elsewhere"
        )


def _listed(directory: Path) -> set[str]:
    """Files that the manifest lists, whatever its version; none where it is damaged."""
    try:
        files = json.loads(manifest_bytes(directory))["files"]
    except (BundleError, ValueError, LookupError, TypeError, RecursionError):
        return set()
    return set(files) if isinstance(files, dict) else set()


class _Extension(BundleWriter):
    def __init__(self, source: Path, directory: Path) -> None:
        super().__init__(directory, open_bundle(source).manifest)
        self._source = source

    def _fill(self, work: Path) -> None:
        for name, entry in self.manifest.files.items():
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # A bundle of its own shares no files.
            copy = link_or_copy if self._source == self.directory else shutil.copyfile
            try:
                copy(self._source / name, target)
            except OSError as error:
                raise cannot_write(self.directory / name, error, entry.nbytes) from error

    def add_bytes(self, name: str, data: bytes) -> None:
        (self.work / name).unlink(missing_ok=True)  # never write through a hard link
        super().add_bytes(name, data)


@contextlib.contextmanager
def extend_bundle(
    directory: str | Path, output: str | Path | None = None
) -> Iterator[BundleWriter]:
    """A writer that starts from an existing bundle and replaces it whole.

    Of several that extend one bundle each starts from what the one before it wrote.
    output: write a bundle of its own there instead, and leave the first as it is.
    """
    source = Path(directory)
    with (
        one_at_a_time(source),
        _Extension(source, source if output is None else Path(output)) as writer,
    ):
        yield writer
