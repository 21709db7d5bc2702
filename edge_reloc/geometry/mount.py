"""How a camera is mounted on a body: by name, or as a file says."""

from __future__ import annotations

import json
from pathlib import Path

from ..arrays import F64
from ..errors import ConfigError
from ..files import read_small
from .frames import MOUNTS
from .rigid import RIGID, rigid


def read_mount(name: str) -> F64:
    """`body_from_cam` (4,4) of a name in MOUNTS or of a JSON file. Raises ConfigError.

    The file holds the rows, or an object with them as `body_from_cam`.
    """
    if name in MOUNTS:
        return MOUNTS[name]
    try:
        values = json.loads(read_small(Path(name)))
    except OSError as error:
        raise ConfigError(
            f"{name}: cannot be read ({error.strerror}); a mount is {', '.join(MOUNTS)} or a "
            f"JSON file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not a mount (JSON expected): {error}") from None
    rows = values.get("body_from_cam") if isinstance(values, dict) else values
    mount = rigid(rows)
    if mount is None:
        raise ConfigError(f"{name}: body_from_cam: expected {RIGID}")
    return mount
