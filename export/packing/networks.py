"""Networks of a map bundle as the workstation changes them."""

from __future__ import annotations

from pathlib import Path

from edge_reloc.bundle import BundleWriter


def how_to_float16(where: Path, *, demo: bool) -> str:
    """The commands that give a map float16 networks; the package's own map gets a copy."""
    if demo:
        return "'edge-reloc export onnx --demo --output demo16', and go on with --map demo16"
    return f"'edge-reloc export onnx --map {where}'"


def forget_float16(bundle: BundleWriter, network: str) -> None:
    """Drop the float16 version of a network that has changed, and what was said of it."""
    entry = bundle.manifest.networks.pop(network, None)
    if entry and entry.float16:
        bundle.remove(entry.float16)
    bundle.manifest.parity = {}
