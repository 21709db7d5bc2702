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
    return sign_file(directory / signed, directory / signature, private)


def sign_file(path: Path, signature: Path, private: Path) -> Path:
    """Sign a file's bytes; the path of the signature. Raises as `write_signature`."""
    key = _private_key(private)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    write_atomic(signature, key.sign(content))
    return signature


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
    cure = "edge-reloc sign --map DIR --key KEY"
    check_signed(directory, manifest, directory / signature, public, cure, signed=signed)


def check_signed(
    what: Path, content: bytes, signature: Path, public: Path, cure: str, *, signed: str
) -> None:
    """BundleError unless a signature is one of these bytes by the holder of a key.

    what: whose content it is; signed: the file's name. cure: the command that signs it. Raises
    ConfigError for the key, MissingPackageError.
    """
    key = _public_key(public)
    if not signature.is_file():
        raise BundleError(
            f"{what}: is not signed ({signature.name} is missing), expected a signature by "
            f"{public}; whoever holds the key signs it with '{cure}'"
        )
    try:
        with open(signature, "rb") as stream:
            found = stream.read(SIGNATURE_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{signature}: cannot be read ({error.strerror})") from error
    if not _verifies(key, found, content):
        raise BundleError(
            f"{signature}: is no signature of this {signed} by {public}: another key signed it, or "
            f"one of the two was changed since; take the {'bundle' if what.is_dir() else 'file'} "
            f"again from whoever signs it"
        )


def is_signed(content: bytes, signature: bytes, public: Path) -> bool:
    """Whether the holder of a key signed these bytes. Raises as `check_signed` for the key."""
    return _verifies(_public_key(public), signature, content)


def check_private_key(private: Path) -> None:
    """ConfigError for a file that is no key to sign with: before long work, not after it."""
    _private_key(private)


def _private_key(private: Path) -> Any:
    serialization, ed25519 = _cryptography()
    key = _load(private, "private", lambda pem: serialization.load_pem_private_key(pem, None))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{private}: {_another_kind('private')}")
    return key


def _public_key(public: Path) -> Any:
    serialization, ed25519 = _cryptography()
    key = _load(public, "public", serialization.load_pem_public_key)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError(f"{public}: {_another_kind('public')}")
    return key


def _verifies(key: Any, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


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
