"""Cameras, photos, videos and streams as frames."""

from .photo import read_photo
from .source import Source, open_source

__all__ = ["Source", "open_source", "read_photo"]
