"""The networks of a map bundle, by role: the door through which all are exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edge_reloc.bundle import BundleWriter, Manifest
from edge_reloc.bundle.layout import float16_file

from ..onnx.describe import describe


@dataclass(frozen=True, kw_only=True)
class BundleNetwork:
    """One network. file: its float32 ONNX file as the bundle lists it.

    role: "features", "embedding", the head's name ("cells", "generative") or the method's
    ("landmarks", "scene_coordinates").
    """

    role: str
    file: str

    @property
    def float16_file(self) -> str:
        """Name of the float16 version, whether or not it exists."""
        return float16_file(self.file)


def bundle_networks(manifest: Manifest) -> tuple[BundleNetwork, ...]:
    """Every network that a manifest names, each once, in the order of the frame."""
    return tuple(dict.fromkeys(_networks(manifest)))


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


def _networks(manifest: Manifest) -> Iterator[BundleNetwork]:
    for spec in manifest.features.networks:
        yield BundleNetwork(role="features", file=spec.file)
    if manifest.embedding and manifest.embedding.network:
        yield BundleNetwork(role="embedding", file=manifest.embedding.network)
    for method, values in manifest.methods.items():
        if "network" in values:
            yield BundleNetwork(role=method, file=values["network"])
        for network in values.get("features", {}).get("networks", ()):
            yield BundleNetwork(role=method, file=network["file"])
        for head, tuned in values.get("heads", {}).items():
            yield BundleNetwork(role=head, file=tuned["network"])
