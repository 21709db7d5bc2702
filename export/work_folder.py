"""The work folder beside a map: what making the map left for later steps."""

from __future__ import annotations

from pathlib import Path

from edge_reloc.errors import MappingError


def work_folder(map_dir: Path) -> Path:
    """MAP.work, whether it exists or not."""
    if map_dir.name in ("", ".."):  # which name nothing
        map_dir = map_dir.resolve()
    return map_dir.parent / f"{map_dir.name}.work"


def existing_work_folder(map_dir: Path, named: Path | None = None) -> Path:
    """The named folder, else MAP.work; MappingError when it is not there."""
    work = named or work_folder(map_dir)
    if not work.is_dir():
        raise MappingError(
            f"{work}: no work folder of this map; name it with --work, "
            f"or map again with 'edge-reloc map'"
        )
    return work
