"""The work folder beside a map: what making the map left for later steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_reloc.errors import MappingError


def work_folder(map_dir: Path) -> Path:
    """MAP.work, whether it exists or not."""
    if map_dir.name in ("", ".."):  # which name nothing
        map_dir = map_dir.resolve()
    return map_dir.parent / f"{map_dir.name}.work"


@contextmanager
def at_work(folder: Path, *, alone: bool = True) -> Iterator[None]:
    """While something is made in a work folder, which is made where there is none.

    alone: nobody else may read it meanwhile. MappingError when somebody is at work there.
    """
    import fcntl

    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_NB | (fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
    except BlockingIOError:
        os.close(descriptor)
        raise MappingError(
            f"{folder}: another program is at work there; wait for its end, or name another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        if made:
            with suppress(OSError):  # not empty, as it should be: only refused inputs leave it so
                folder.rmdir()
        os.close(descriptor)


def existing_work_folder(map_dir: Path, named: Path | None = None) -> Path:
    """The named folder, else MAP.work; MappingError when it is not there."""
    work = named or work_folder(map_dir)
    if not work.is_dir():
        raise MappingError(
            f"{work}: no work folder of this map; name it with --work, "
            f"or map again with 'edge-reloc map'"
        )
    return work
