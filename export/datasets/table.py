"""The table of data sets, by the word that their addresses begin with."""

from __future__ import annotations

from pathlib import Path

from edge_reloc.errors import ConfigError, SourceError
from edge_reloc.sinks.options import split_options

from .models import colmap, nerf
from .outdoor import aachen, cambridge
from .phones import ace, indoor6
from .rgbd_rooms import seven_scenes, twelve_scenes
from .scene import Reader, Scene
from .trajectories import euroc, tum_rgbd

DATASETS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "7scenes": (seven_scenes, ("reference",)),
    "12scenes": (twelve_scenes, ("reference",)),
    "cambridge": (cambridge, ()),
    "aachen": (aachen, ()),
    "wayspots": (ace, ()),
    "ace": (ace, ()),
    "indoor6": (indoor6, ()),
    "tum": (tum_rgbd, ("queries",)),
    "euroc": (euroc, ("queries",)),
    "nerf": (nerf, ()),
    "colmap": (colmap, ("queries", "metric", "thresholds")),
}


def open_dataset(address: str) -> Scene:
    """The scene of `7scenes:DIR/chess`, `7scenes:DIR/chess?reference=pgt/sfm/7scenes`, ...

    Raises ConfigError for an address that no reader takes, and SourceError for a folder that is
    missing or is not laid out as its data set is published.
    """
    kind, colon, rest = address.partition(":")
    if kind not in DATASETS or not colon:
        raise ConfigError(
            f"{address}: expected one of {', '.join(f'{name}:FOLDER' for name in DATASETS)}"
        )
    read, options = DATASETS[kind]
    where, values = split_options(rest, dict.fromkeys(options, str))
    folder = Path(where)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; download the data set and name its scene")
    return read(folder.resolve(), values).check(folder)
