"""Files are written whole or not at all."""

from __future__ import annotations

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
    """Write to a temporary neighbour, flush to disk, rename over `path`.

    Raises DiskError, and leaves what was there before.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error, len(data)) from error
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError, nbytes: int) -> DiskError:
    """The one line about a file of `nbytes` bytes that could not be written."""
    text = f"{path}: cannot be written ({error.strerror})"
    if error.errno in FULL:
        parent = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
        free = shutil.disk_usage(parent).free
        text += f"; it takes {nbytes / 1e6:.1f} MB, {free / 1e6:.1f} MB are free there: make room"
    return DiskError(f"{text}; what was there before is unchanged")
