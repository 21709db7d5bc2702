"""What programs leave in work folders for later ones, read back: never believed unseen.

A work folder may be copied, cut short or written to by other versions. What is damaged is
told in one line or made again, by whoever asks; nothing here runs code or fills the memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import MappingError
from edge_reloc.files import read_small

JSON_BYTES = 1 << 28  # a store of a million photos has half of it


class DamagedError(MappingError):
    """A kept file is not what was written."""


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises DamagedError, FileNotFoundError for no file."""
    try:
        values = json.loads(read_small(path, JSON_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: damaged ({error}); remove it and start again") from error
    if not isinstance(values, dict):
        raise DamagedError(f"{path}: damaged, expected a JSON object; remove it and start again")
    return values


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name. Raises DamagedError, FileNotFoundError for no file.

    Ours are not compressed: one whose arrays would be larger than the file is refused before
    they are read.
    """
    if not path.is_file():
        if path.exists():
            raise DamagedError(f"{path}: not a file; remove it and start again")
        raise FileNotFoundError(str(path))
    try:
        size = path.stat().st_size
        with ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError("its arrays are larger than the file")
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except Exception as error:  # parsers of zip archives and array headers raise unrelated classes
        raise DamagedError(f"{path}: damaged ({error}); remove it and start again") from error


def check(path: Path, arrays: dict[str, NDArray[Any]], shapes: dict[str, str]) -> dict[str, int]:
    """Lengths of axes by letter, where arrays have these shapes and finite numbers.

    shapes: a letter or a number an axis, such as "K2"; axes of one letter are as long as each
    other. Raises DamagedError.
    """
    lengths: dict[str, int] = {}
    for name, axes in shapes.items():
        array = arrays.get(name, np.array("nothing"))
        fits = array.ndim == len(axes) and array.dtype.kind in "fiu"
        for axis, length in zip(axes, array.shape, strict=False):
            told = int(axis) if axis.isdecimal() else lengths.setdefault(axis, length)
            fits = fits and told == length
        if not fits or not np.isfinite(array).all():
            raise DamagedError(
                f"{path}: damaged, '{name}' is {array.dtype} {array.shape}, expected finite "
                f"numbers of shape ({', '.join(axes)}); remove it and start again"
            )
    return lengths
