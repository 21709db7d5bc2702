"""Where poses go: one file a format, chosen by suffix."""

from .sink import Sink, open_sink

__all__ = ["Sink", "open_sink"]
