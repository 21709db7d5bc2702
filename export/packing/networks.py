"""Networks as they get into a map bundle, and out of it."""

from __future__ import annotations

from dataclasses import replace

from edge_reloc.bundle import BundleWriter

from ..onnx.describe import describe


def add_network(bundle: BundleWriter, file: str, content: bytes) -> None:
    """Put an ONNX file into a bundle, with what a device must know before it opens it."""
    bundle.add_bytes(file, content)
    _describe(bundle, file, content)


def describe_networks(bundle: BundleWriter) -> list[str]:
    """The same for the ONNX files that a bundle has already; their names."""
    files = [file for file in bundle.manifest.files if file.endswith(".onnx")]
    for file in files:
        _describe(bundle, file, (bundle.work / file).read_bytes())
    return files


def _describe(bundle: BundleWriter, file: str, content: bytes) -> None:
    entry = bundle.manifest.files[file]
    bundle.manifest.files[file] = replace(entry, network=describe(content, file))


def forget_float16(bundle: BundleWriter, network: str) -> None:
    """Drop the float16 version of a network that has changed, and what was said of it."""
    entry = bundle.manifest.networks.pop(network, None)
    if entry and entry.float16:
        bundle.remove(entry.float16)
    bundle.manifest.parity = {}
