"""A folder takes another's place in one step, and what an interrupted writer left is cleared.

A writer fills a hidden folder beside its target, `.NAME.TOKEN.writing`, and holds a lock on
it for as long as it lives: one that is not locked was left by a writer that was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .layout import ENGINES, MANIFEST, TILES_FILE

WRITING, REPLACED = ".writing", ".replaced"
#: of Linux: <fcntl.h> and <linux/fs.h>
AT_FDCWD, RENAME_EXCHANGE = -100, 2
#: what a kernel, or a file system without an exchange, answers
NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


class WorkFolder:
    """A hidden folder beside `target`, locked until it is closed; then it is gone."""

    def __init__(self, target: Path) -> None:
        """Raises OSError when it cannot be made."""
        self.target = target
        while True:
            made = tempfile.mkdtemp(prefix=f".{target.name}.", suffix=WRITING, dir=target.parent)
            self.path = Path(made)
            self._lock = _lock(self.path, wait=True)
            if self.path.is_dir():  # not taken for a leftover before it was locked
                break
            _unlock(self._lock)

    def publish(self) -> None:
        """Put the folder where `target` is; what was there before is removed on closing.

        Where folders can be exchanged, `target` is at every moment the old one or the new one.
        Elsewhere its name is gone for a moment, in which `recover` puts the old one back.
        Raises OSError, and leaves `target` as it was.
        """
        self.path.chmod(0o755)
        if not self.target.exists():
            self.path.rename(self.target)
        else:
            _link_tree(self.target / ENGINES, self.path / ENGINES)
            if not _exchange(self.path, self.target):
                _rename_twice(self.path, self.target)
        _flush_folder(self.target.parent)

    def close(self) -> None:
        """Remove the folder, or what it was exchanged for."""
        for left in (self.path, self.path.with_suffix(REPLACED)):
            shutil.rmtree(left, ignore_errors=True)
        _unlock(self._lock)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for whoever else changes a folder by exchanging it; no error where there is none."""
    while True:
        lock = _lock(folder, wait=True)
        if lock is None or _is_held(folder, lock):
            break
        _unlock(lock)  # it was exchanged while we waited
    try:
        yield
    finally:
        _unlock(lock)


def clear_leftovers(target: Path) -> None:
    """Remove what writers of `target` left that were killed; a target they lost comes back."""
    recover(target)
    for folder in _beside(target, WRITING):
        lock = _lock(folder, wait=False)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder.with_suffix(REPLACED), ignore_errors=True)
            _unlock(lock)
    for folder in _beside(target, REPLACED):  # killed while it removed both
        if target.exists() and not folder.with_suffix(WRITING).exists():
            shutil.rmtree(folder, ignore_errors=True)


def recover(target: Path) -> None:
    """Put a folder back whose writer was killed between its two renames.

    Waits for a writer that is alive and between them. Nothing to do is no error.
    """
    if target.exists():
        return
    target = Path(os.path.realpath(target))
    for folder in _beside(target, REPLACED):
        lock = _lock(folder.with_suffix(WRITING), wait=True)
        with contextlib.suppress(OSError):  # a read-only disk, or another process was faster
            whole = (folder / MANIFEST).is_file() or (folder / TILES_FILE).is_file()
            if whole and not target.exists():
                folder.rename(target)
        _unlock(lock)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; False where that is not known. Raises OSError."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # a C library of before, another system
        return False
    names = os.fsencode(a), os.fsencode(b)
    if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(b))


def _rename_twice(new: Path, target: Path) -> None:
    replaced = new.with_suffix(REPLACED)
    target.rename(replaced)
    try:
        new.rename(target)
    except BaseException:
        replaced.rename(target)
        raise


def _link_tree(source: Path, target: Path) -> None:
    """The same files in both folders, copied where there are no hard links."""
    if source.is_dir() and not target.exists():
        shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file by another name; a copy on a file system without hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _beside(target: Path, suffix: str) -> Iterator[Path]:
    """Hidden folders of this target's writers."""
    try:
        names = sorted(os.listdir(target.parent))
    except OSError:
        return
    for name in names:
        if name.startswith(f".{target.name}.") and name.endswith(suffix):
            token = name[len(target.name) + 2 : -len(suffix)]
            if token and "." not in token:  # of this name, not of one that begins like it
                yield target.parent / name


def _lock(folder: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the folder's lock; None when it is another's, or not there."""
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a pipe would keep us waiting
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held, or a file system without locks: leave it alone
        os.close(descriptor)
        return None
    return descriptor


def _is_held(folder: Path, lock: int) -> bool:
    """Whether it is this folder's lock: its name may have become another's."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.stat(folder), os.fstat(lock))
    return False


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _flush_folder(folder: Path) -> None:
    """Have the disk know of the folder's names; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
