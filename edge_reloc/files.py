"""Files are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import DiskError

SMALL_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20
PATIENCE_S = 5.0  # until somebody writes to a pipe
#: O_NONBLOCK: a pipe of that name is refused
OPENED_ALONE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_folder() -> Path:
    """What this machine keeps of its own: EDGE_RELOC_CACHE or the user's cache."""
    named = os.environ.get("EDGE_RELOC_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge_reloc"


def read_small(path: str | Path, most_bytes: int = SMALL_BYTES) -> bytes:
    """The bytes of a file that people write, or of a pipe that somebody writes to.

    Raises OSError, also for more than `most_bytes` and for a pipe that nothing comes through.
    """
    words = f"larger than the {most_bytes / 1000:.0f} kB that such a file may have"
    too_large = OSError(errno.EFBIG, words, str(path))
    descriptor = _open_at_once(path)
    with open(descriptor, "rb") as stream:
        facts = os.fstat(descriptor)
        if facts.st_size > most_bytes:
            raise too_large
        pipe = stat.S_ISFIFO(facts.st_mode)
        if pipe:
            select.select([stream], [], [], PATIENCE_S)
        os.set_blocking(descriptor, True)  # for a writer that is slow
        blocks, left = [], most_bytes + 1
        while left > 0 and (block := stream.read(min(left, BLOCK_BYTES))):  # no more than is there
            blocks.append(block)
            left -= len(block)
    if left <= 0:
        raise too_large
    if pipe and not blocks:
        raise OSError(errno.EPIPE, "nothing was written to this pipe", str(path))
    return b"".join(blocks)


def open_file(path: str | Path) -> BinaryIO:
    """A file to read, of any size. Raises OSError, also for a pipe, which would keep us waiting."""
    descriptor = _open_at_once(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return open(descriptor, "rb")


def _open_at_once(path: str | Path) -> int:
    """Descriptor to read from; without O_NONBLOCK a pipe would keep us waiting. Raises OSError."""
    if "\0" in os.fspath(path):  # of which Python makes a ValueError
        raise OSError(errno.EINVAL, "no file has a name with a NUL in it", str(path))
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def check_writable(path: str | Path) -> None:
    """DiskError where `write_atomic` could not write: before long work, not after it."""
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            return
        temporary = _hidden(path)
        descriptor = _open_alone(temporary)
        try:
            temporary.unlink()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise cannot_write(path, error, 0) from error


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
    except OSError as error:
        raise cannot_write(path, error, len(data)) from error
    with writing_atomic(path, len(data)) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing_atomic(path: Path, nbytes: int = 0) -> Iterator[BinaryIO]:
    """A stream that becomes the file `path` when the block ends well, else nothing.

    nbytes: that are known to come. Raises DiskError for what the disk does not take.
    """
    try:
        temporary = _hidden(path)
        with open(_open_alone(temporary), "wb") as stream:
            try:
                stream.truncate()
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(temporary, path)
            except BaseException as error:
                if isinstance(error, OSError):
                    nbytes = max(nbytes, os.fstat(stream.fileno()).st_size)
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise cannot_write(path, error, nbytes) from error


def unfinished(name: str) -> str:
    """What a file is called until it is whole; a writer that is killed leaves that."""
    return f".{name}.tmp"


def _hidden(path: Path) -> Path:
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path.with_name(unfinished(path.name))


def _open_alone(path: Path) -> int:
    """Descriptor of a file that no other process writes; waits for one that does."""
    import fcntl

    while True:
        descriptor = os.open(path, OPENED_ALONE, 0o666)
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
