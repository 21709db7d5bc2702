"""A bundle that must be signed: by this key, as it is to the byte, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="signs bundles: extra 'sign'")

import edge_reloc
from edge_reloc import __main__ as programs
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.errors import BundleError, ConfigError, EdgeRelocError, MissingPackageError
from edge_reloc.running.demo import DEMO
from edge_reloc_export import export_engine

GOLDEN = Path(__file__).parents[1] / "golden" / "bundle"


def sign(*arguments: object) -> int:
    return programs.main(["sign", *map(str, arguments)])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "site.key"
    assert sign("--new-key", path) == 0
    return path


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("site.key.pub")


@pytest.fixture
def place(tmp_path: Path, key: Path) -> Path:
    """A signed copy of the golden bundle."""
    path = Path(shutil.copytree(GOLDEN, tmp_path / "map"))
    assert sign("--map", path, "--key", key) == 0
    return path


def refused(place: Path, public: Path, *words: str) -> None:
    with pytest.raises(EdgeRelocError) as caught:
        open_bundle(place, require_signed=public)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), caught.value


def test_a_signed_bundle_opens(place: Path, public: Path) -> None:
    assert open_bundle(place, require_signed=public).manifest.files
    open_bundle(place, verify=True)  # and needs no key where none is asked for


def test_a_key_pair_is_made_once(key: Path, public: Path, capsys: pytest.CaptureFixture) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----")
    before = key.read_bytes()
    assert sign("--new-key", key) == 1
    assert "is there already" in capsys.readouterr().err
    assert key.read_bytes() == before


def test_an_unsigned_bundle_is_refused(place: Path, public: Path) -> None:
    (place / "manifest.sig").unlink()
    refused(place, public, "is not signed", "manifest.sig is missing", "edge-reloc sign --map")


def test_another_signer_is_refused(place: Path, tmp_path: Path, public: Path) -> None:
    assert sign("--new-key", tmp_path / "other.key") == 0
    assert sign("--map", place, "--key", tmp_path / "other.key") == 0
    refused(place, public, "manifest.sig: is no signature of this manifest.json by", str(public))
    open_bundle(place, require_signed=tmp_path / "other.key.pub")


def flipped(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("position", [0, 0.5, -1])
def test_one_byte_of_any_file_is_enough(place: Path, public: Path, position: float) -> None:
    files = [path for path in sorted(place.rglob("*")) if path.is_file()]
    assert len(files) == len(open_bundle(place).manifest.files) + 2
    for path in files:
        before = path.read_bytes()
        if not before:
            continue
        flipped(path, int(position * len(before)) if position > 0 else int(position))
        with pytest.raises(BundleError):
            open_bundle(place, require_signed=public)
        path.write_bytes(before)
    open_bundle(place, require_signed=public)


def test_a_file_and_a_manifest_that_agree_are_not_enough(place: Path, public: Path) -> None:
    """What --verify alone takes: hashes were computed again."""
    name = "points/xyz.npy"
    flipped(place / name, -1)
    values = json.loads((place / "manifest.json").read_text())
    values["files"][name]["sha256"] = hashlib.sha256((place / name).read_bytes()).hexdigest()
    (place / "manifest.json").write_text(json.dumps(values))
    open_bundle(place, verify=True)
    refused(place, public, "is no signature of this manifest.json")


def test_a_file_that_was_added_is_refused(place: Path, public: Path) -> None:
    (place / "more.npy").write_bytes(b"")
    refused(place, public, "not listed in manifest.json")


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\0" * 65, b"long" * 1000])
def test_a_signature_that_is_none(place: Path, public: Path, content: bytes) -> None:
    (place / "manifest.sig").write_bytes(content)
    refused(place, public, "is no signature of this manifest.json")


def test_a_signature_is_checked_before_the_manifest_is_parsed(place: Path, public: Path) -> None:
    (place / "manifest.json").write_bytes(b"\xff{")
    refused(place, public, "is no signature of this manifest.json")


def test_whoever_writes_a_bundle_drops_the_signature(place: Path, public: Path) -> None:
    with extend_bundle(place) as writer:
        writer.manifest.name = "other"
    assert not (place / "manifest.sig").exists()
    refused(place, public, "is not signed")


def test_a_manifest_cannot_list_its_signature(place: Path) -> None:
    values = json.loads((place / "manifest.json").read_text())
    entry = {"sha256": "0" * 64, "nbytes": 64}
    values["files"]["manifest.sig"] = entry
    (place / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"'manifest\.sig' is not a plain relative path"):
        open_bundle(place)


def test_a_damaged_bundle_is_not_signed(place: Path, key: Path) -> None:
    before = (place / "manifest.sig").read_bytes()
    flipped(place / "points/xyz.npy", -1)
    assert sign("--map", place, "--key", key) == 1
    assert (place / "manifest.sig").read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path, key: path.unlink(), "the key cannot be read (No such file"),
        (lambda path, key: os.truncate(path, 1 << 33), "the key cannot be read (larger than"),
        (lambda path, key: path.write_bytes(b"no key"), "not a public Ed25519 key in PEM"),
        (lambda path, key: shutil.copy(key, path), "not a public Ed25519 key in PEM"),
        (lambda path, key: path.write_bytes(rsa_public()), "not a public Ed25519 key in PEM"),
    ],
)
def test_a_public_key_that_is_none(
    place: Path, key: Path, public: Path, tmp_path: Path, spoil: Callable[..., Any], words: str
) -> None:
    other = Path(shutil.copy(public, tmp_path / "other.pub"))
    spoil(other, key)
    refused(place, other, "other.pub: ", words)


def rsa_public() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).public_key()
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, kind)


def test_a_private_key_with_a_password(
    place: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from cryptography.hazmat.primitives import serialization as forms

    loaded = forms.load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    kind, how = forms.PrivateFormat.PKCS8, forms.BestAvailableEncryption(b"secret")
    locked.write_bytes(loaded.private_bytes(forms.Encoding.PEM, kind, how))
    assert sign("--map", place, "--key", locked) == 1
    error = capsys.readouterr().err
    assert "not a private Ed25519 key in PEM without a password" in error
    assert len(error.strip().splitlines()) == 1


def test_openssl_agrees(place: Path, public: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", "-in"]
    command += [str(place / "manifest.json"), "-sigfile", str(place / "manifest.sig")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    flipped(place / "manifest.sig", 0)
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_without_the_package_it_is_refused(
    place: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingPackageError, match=r"'cryptography'.*edge-reloc\[sign\]"):
        open_bundle(place, require_signed=public)
    open_bundle(place)


@pytest.fixture
def demo(tmp_path: Path, key: Path) -> Path:
    path = Path(shutil.copytree(DEMO / "map", tmp_path / "demo"))
    assert sign("--map", path, "--key", key) == 0
    return path


def test_every_program_that_localises_asks(
    demo: Path, public: Path, capsys: pytest.CaptureFixture
) -> None:
    here = ["--map", str(demo), "--require-signed", str(public)]
    frames = ["--source", str(DEMO / "frames"), "--calibration", str(DEMO / "camera.json")]
    commands = [
        ["run", *here, *frames, "--frames", "1"],
        ["profile", *here, *frames, "--frames", "1"],
        ["evaluate", *here, "--data", str(demo)],
        ["inspect", *here],
    ]
    assert programs.main(commands[0]) == 0
    assert programs.main(commands[3]) == 0
    assert f"signed     by the key to {public}" in capsys.readouterr().out
    flipped(demo / "nets" / "cells.onnx", -1)
    for command in commands:
        assert programs.main(command) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and "nets/cells.onnx: sha256 is" in lines[0]


def test_engines_are_built_of_what_is_signed(demo: Path, public: Path, tmp_path: Path) -> None:
    options = export_engine._parser().parse_args(["--map", str(demo), "--precision", "float32"])
    options.require_signed = public
    assert {path.parent for path in export_engine._networks(options, tmp_path)} == {demo / "nets"}
    flipped(demo / "nets" / "cells.onnx", -1)
    with pytest.raises(BundleError, match="sha256 is"):
        export_engine._networks(options, tmp_path)


def test_the_demo_needs_no_signature(public: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        programs.main(["run", "--demo", "--require-signed", str(public)])
    assert caught.value.code == 2


def test_from_python(demo: Path, public: Path) -> None:
    with edge_reloc.open(demo, DEMO / "camera.json", require_signed=public) as localizer:
        assert localizer.localize(DEMO / "frames" / "frame_000.jpg").ok
    (demo / "manifest.sig").unlink()
    with pytest.raises(BundleError, match="is not signed"):
        edge_reloc.open(demo, DEMO / "camera.json", require_signed=str(public))
    with pytest.raises(ConfigError, match="the key cannot be read"):
        edge_reloc.open(demo, DEMO / "camera.json", require_signed="nowhere.pub")
