"""Where poses go: one file a format or receiver, chosen by suffix or scheme."""

from .opening import open_sink
from .sink import Sink

__all__ = ["Sink", "open_sink"]
