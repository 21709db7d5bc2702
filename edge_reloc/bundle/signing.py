"""Who vouches for a bundle: an Ed25519 signature (RFC 8032) of its manifest's bytes.

The manifest holds size and sha256 of every file, so that one signature covers them all;
`engines/` is of the device and not covered. Keys are PEM files, the signature is 64 bytes
without a frame, as OpenSSL reads and writes them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import BundleError, ConfigError, missing_package
from ..files import cannot_write, read_small, write_atomic
from .layout import MANIFEST, SIGNATURE

SIGNATURE_BYTES = 64
LARGEST_KEY = 1 << 14  # bytes of a key file; one takes some hundred


def make_key_pair(private: Path) -> Path:
    """Write a new private key (mode 0600) and beside it the public one, whose path it returns.

    Raises ConfigError when either is there already, DiskError, MissingPackageError.
    """
    serialization, ed25519 = _cryptography()
    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists():
            raise ConfigError(f"{path}: is there already; name another file for the new key")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    content = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    of_public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        with open(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise cannot_write(private, error, len(content)) from error
    write_atomic(public, of_public)
    return public


def write_signature(
    directory: Path, private: Path, *, signed: str = MANIFEST, signature: str = SIGNATURE
) -> Path:
    """Sign a bundle's manifest as it is now; the path of the signature.

    What the manifest says of the files is for the caller to verify before. signed, signature:
    names of the files, which the index of a map of tiles has others of. Raises BundleError,
    ConfigError for the key, DiskError, MissingPackageError.
    """
    serialization, ed25519 = _cryptography()
    key = _load(private, "private", lambda pem: serialization.load_pem_private_key(pem, None))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{private}: {_another_kind('private')}")
    path = directory / signed
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    write_atomic(directory / signature, key.sign(content))
    return directory / signature


def check_signature(
    directory: Path,
    manifest: bytes,
    public: Path,
    *,
    signed: str = MANIFEST,
    signature: str = SIGNATURE,
) -> None:
    """BundleError unless the holder of the key to `public` signed these very bytes.

    manifest: of manifest.json, the same that are parsed afterwards. signed, signature: names of
    the files. Raises ConfigError for the key, MissingPackageError.
    """
    serialization, ed25519 = _cryptography()
    from cryptography.exceptions import InvalidSignature

    key = _load(public, "public", serialization.load_pem_public_key)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError(f"{public}: {_another_kind('public')}")
    path = directory / signature
    if not path.is_file():
        raise BundleError(
            f"{directory}: is not signed ({signature} is missing), expected a signature by "
            f"{public}; whoever holds the key signs it with 'edge-reloc sign --map DIR --key KEY'"
        )
    try:
        with open(path, "rb") as stream:
            found = stream.read(SIGNATURE_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        key.verify(found, manifest)
    except InvalidSignature:
        raise BundleError(
            f"{path}: is no signature of this {signed} by {public}: another key signed it, or "
            f"one of the two was changed since; take the bundle again from whoever signs it"
        ) from None


def _load(path: Path, which: str, load: Any) -> Any:
    """A key of a PEM file. Raises ConfigError."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        content = read_small(path, LARGEST_KEY)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read ({error.strerror})") from None
    try:
        return load(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it asks for a password
        raise ConfigError(f"{path}: {_another_kind(which)}") from None


def _another_kind(which: str) -> str:
    return (
        f"not a {which} Ed25519 key in PEM without a password, as 'edge-reloc sign --new-key' "
        f"writes them"
    )


def _cryptography() -> tuple[Any, Any]:
    """Its modules `serialization` and `ed25519`."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise missing_package("cryptography", "signing and --require-signed", "sign") from None
    return serialization, ed25519
