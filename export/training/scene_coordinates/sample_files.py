"""The sampled cells of one photo, and the file that keeps them for the next training."""

from __future__ import annotations

import io
import logging
import threading
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32
from edge_reloc.files import write_atomic

from ...kept_files import DamagedError, read_arrays

log = logging.getLogger(__name__)

# numpy reads headers by Python's parser, which in 3.11 fails now and then when threads share it.
_HEADERS = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class PhotoSamples:
    """N cells of a photo and its altered copies; lengths in map units."""

    feature: NDArray[np.float16]  #: (N,C)
    ray: F32  #: (N,2): x/z, y/z of the cell's spot in the photo
    depth: F32  #: (N,) along the camera's axis, 0 for unknown
    copy: NDArray[np.int16]  #: (N,): of which copy, 0 for the photo itself


def write_samples(path: Path, identity: str, samples: PhotoSamples) -> None:
    """Keep the cells of a photo, whole or not at all."""
    stream = io.BytesIO()
    arrays = {field.name: getattr(samples, field.name) for field in fields(samples)}
    copies = samples.copy.max(initial=0)
    np.savez(stream, identity=np.array(identity), copies=np.array(copies), **arrays)
    write_atomic(path, stream.getvalue())


def read_samples(path: Path, identity: str, copies: int) -> PhotoSamples | None:
    """Cells of a photo and `copies` copies of it; None where the file has not what is asked.

    identity: what they depend on. A damaged file counts as none.
    """
    try:
        with _HEADERS:
            data = read_arrays(path)
        if str(data["identity"]) != identity or int(data["copies"]) < copies:
            return None
        rows = data["copy"] <= copies
        kept = {field.name: data[field.name][rows] for field in fields(PhotoSamples)}
        return PhotoSamples(**kept)
    except FileNotFoundError:
        return None
    except (DamagedError, ValueError, TypeError, LookupError):
        log.warning("%s: damaged cells of a photo, sampled again", path)
        return None
