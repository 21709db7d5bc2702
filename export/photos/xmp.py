"""Fields of an XMP packet: what drones write beside EXIF."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .numbers import finite

MOST_BYTES = 1 << 20  # of a packet that is read; those of drones have a few thousand
LONGEST_VALUE = 1000  # characters

# By the end of the namespace's name, whatever prefix the file gives it.
_NAMESPACES = {
    "drone-dji": "drone",
    "drone-parrot": "drone",
    "parrot.com": "drone",
    "autel": "drone",
    "skydio": "drone",
    "pix4d.com": "camera",
    "micasense": "camera",
    "exif": "exif",
}
_PREFIXES = {"drone-dji": "drone", "drone-parrot": "drone", "drone": "drone", "Camera": "camera"}
_DECLARED = re.compile(r"xmlns:([\w-]+)\s*=\s*[\"']([^\"']*)[\"']")
# Words are tried from their beginning only, or a long one would take the square of its length.
_ATTRIBUTE = re.compile(r"(?<![\w-])([\w-]+):(\w+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_ELEMENT = re.compile(r"<([\w-]+):(\w+)(?:\s[^<>]*)?>([^<>]*)</\1:\2\s*>")


def read_fields(packet: bytes | str) -> dict[str, str]:
    """Simple properties as "drone:RelativeAltitude", attributes or elements.

    Read by pattern: packets of drones are often not well-formed, and nothing
    that a document type could declare is wanted. Later fields do not replace
    earlier ones. Empty for what is no packet.
    """
    packet = packet[:MOST_BYTES]
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet
    kinds = dict(_PREFIXES, exif="exif")
    for prefix, address in _DECLARED.findall(text):
        for word, kind in _NAMESPACES.items():
            if word in address.lower():
                kinds[prefix] = kind
                break
    out: dict[str, str] = {}
    found = [(p, n, a or b) for p, n, a, b in _ATTRIBUTE.findall(text)]
    for prefix, name, value in found + _ELEMENT.findall(text):
        if prefix in kinds and value.strip() and len(value) <= LONGEST_VALUE:
            out.setdefault(f"{kinds[prefix]}:{name}", value.strip())
    return out


def number(fields: Mapping[str, str], *names: str) -> float | None:
    """The first of these fields that is a finite number, signs and all."""
    for name in names:
        text = re.sub(r"\s*(m|mm|deg|°)$", "", fields.get(name, ""))
        value = finite(text) if text else None
        if value is not None:
            return value
    return None


def signed_angle(fields: Mapping[str, str], axis: str) -> float | None:
    """Latitude or longitude in degrees with its sign; axis as in "Latitude"."""
    misspelt = axis.replace("Longitude", "Longtitude")
    value = number(fields, f"drone:Gps{axis}", f"drone:GPS{axis}", f"drone:Gps{misspelt}")
    if value is not None:
        return value
    parts = re.fullmatch(
        r"(\d+),(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?([NSEW])", fields.get(f"exif:GPS{axis}", "")
    )
    if parts is None:
        return None
    angle = float(parts[1]) + float(parts[2]) / 60 + float(parts[3] or 0) / 3600
    return -angle if parts[4] in "SW" else angle
