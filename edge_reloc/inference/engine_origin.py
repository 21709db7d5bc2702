"""Whether an engine was built on this machine.

A plan is code for the GPU, and TensorRT trusts every byte of it; a side-car comes from
whoever sent the folder. So each side-car that is written here carries an HMAC-SHA256
(RFC 2104) of what it states, with a secret that stays in the cache folder of this user and
machine. An engine that was copied from elsewhere has none, or that of another secret.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from ..errors import DiskError, EngineError
from ..files import cache_folder, cannot_write, open_file
from .engine_key import EngineRecord

SECRET = "engines.secret"
SECRET_BYTES = 32

FOREIGN = "was not built on this machine"


def origin_of(record: EngineRecord) -> str:
    """The HMAC of a side-car that is written here, hexadecimal.

    The secret is made the first time. Raises DiskError when it cannot be kept, EngineError
    when it is not this user's alone.
    """
    return _code(_read_secret() or make_secret(), record)


def built_here(record: EngineRecord) -> bool:
    """Whether a side-car states what was stated here. Its plan is compared when loaded.

    Raises EngineError when the secret is not this user's alone.
    """
    secret = _read_secret()
    if secret is None:
        return False
    return hmac.compare_digest(_code(secret, record).encode(), record.origin.encode())


def make_secret() -> bytes:
    """This machine's secret, made where there is none. Raises DiskError or EngineError."""
    if (known := _read_secret()) is not None:
        return known
    path = cache_folder() / SECRET
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(SECRET_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):  # another program was first: then its secret
            os.link(temporary, path)
    except OSError as error:
        raise cannot_write(path, error, SECRET_BYTES) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    made = _read_secret()
    if made is None:
        raise DiskError(f"{path}: is gone as soon as it is written")
    return made


def _read_secret() -> bytes | None:
    """None where no engine was built yet."""
    path = cache_folder() / SECRET
    cure = "remove it and build the engines again with 'edge-reloc export engine'"
    try:
        with open_file(path) as stream:
            state = os.fstat(stream.fileno())
            content = stream.read(SECRET_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror}); {cure}") from None
    _check_owner(path, state, cure)
    if len(content) != SECRET_BYTES:
        raise EngineError(f"{path}: is damaged, expected {SECRET_BYTES} bytes; {cure}")
    return content


def _check_owner(path: Path, state: os.stat_result, cure: str) -> None:
    """Whoever else knows the secret could pass engines off as built here."""
    mode = stat.S_IMODE(state.st_mode)
    if mode & 0o077:
        raise EngineError(f"{path}: others may open it (mode {mode:04o}, expected 0600); {cure}")
    if state.st_uid != os.geteuid():
        raise EngineError(
            f"{path}: is of user {state.st_uid}, expected {os.geteuid()}, who runs this; name a "
            f"cache folder of your own with EDGE_RELOC_CACHE"
        )


def _code(secret: bytes, record: EngineRecord) -> str:
    return hmac.digest(secret, record.statement, "sha256").hex()
