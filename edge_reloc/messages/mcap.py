"""Channels as MCAP files have them (https://mcap.dev/spec)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .channel import Channel, encode


def register(writer: Any, channels: Iterable[Channel]) -> dict[str, int]:
    """Tell an `mcap.writer.Writer` of channels; its number of each, by topic."""
    ids = {}
    for channel in channels:
        schema = writer.register_schema(channel.schema_name, "jsonschema", encode(channel.schema))
        ids[channel.topic] = int(writer.register_channel(channel.topic, "json", schema))
    return ids
