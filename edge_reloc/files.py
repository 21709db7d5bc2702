"""Files are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from .errors import DiskError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_folder() -> Path:
    """What this machine keeps of its own: EDGE_RELOC_CACHE or the user's cache."""
    named = os.environ.get("EDGE_RELOC_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_reloc"


def write_atomic(path: str | Path, content: bytes | str) -> None:
    """Write to a hidden neighbour, flush to disk, rename over `path`.

    The neighbour `.NAME.tmp` is the same every time, so that what a killed writer left of it
    goes with the next write. A device or a pipe is written to as it is. Raises DiskError, and
    leaves what was there before.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        temporary = path.with_name(f".{path.name}.tmp")
        with open(_open_alone(temporary), "wb") as stream:
            try:
                stream.truncate()
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise cannot_write(path, error, len(data)) from error


def _open_alone(path: Path) -> int:
    """Descriptor of a file that no other process writes; waits for one that does."""
    import fcntl

    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # the one before us has renamed it away


def cannot_write(path: Path, error: OSError, nbytes: int) -> DiskError:
    """The one line about a file of `nbytes` bytes that could not be written."""
    text = f"{path}: cannot be written ({error.strerror})"
    if error.errno in FULL:
        parent = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
        free = shutil.disk_usage(parent).free
        text += f"; it takes {nbytes / 1e6:.1f} MB, {free / 1e6:.1f} MB are free there: make room"
    return DiskError(f"{text}; what was there before is unchanged")
