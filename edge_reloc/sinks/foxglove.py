"""A live view in Foxglove: a websocket server with the channels of our MCAP files.

Addresses: `foxglove:`, `foxglove:PORT`, `foxglove:HOST:PORT` (127.0.0.1:8765; 0.0.0.0 is for
whoever reaches this machine), with `?looks=HZ` and `?quality=1..100` as for MCAP files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import SinkError, missing_package
from ..messages.channel import encode
from ..structs import PoseEstimate
from .facts import RunFacts
from .host_port import host_port
from .look import Look
from .look_options import LOOK_OPTIONS, LOOKS_HZ, QUALITY
from .options import split_options
from .run_messages import CHANNELS, LOOK_CHANNELS, Message, RunMessages

PORT = 8765
BACKLOG = 256  # messages that wait for a slow viewer; then the oldest are dropped


def open_foxglove(address: str, facts: RunFacts) -> FoxgloveSink:
    """The sink of an address. Raises ConfigError, SinkError, MissingPackageError."""
    rest, options = split_options(address, LOOK_OPTIONS)
    host, port = host_port(f"foxglove:{address}", rest, PORT)
    sink = DrawingFoxgloveSink if options.get("looks", LOOKS_HZ) > 0 else FoxgloveSink
    return sink(host, port, facts, **options)


class FoxgloveSink:
    """Serves every message of a run to all viewers that are connected, and to none.

    What is told once is told again to viewers that come later. Viewers that are too slow lose
    messages in the server, which does not say how many.
    """

    def __init__(
        self,
        host: str,
        port: int,
        facts: RunFacts,
        *,
        looks: float = LOOKS_HZ,
        quality: int = QUALITY,
    ) -> None:
        try:
            import foxglove
        except ImportError:
            raise missing_package("foxglove-sdk", "foxglove:", "foxglove") from None
        self.looks_hz = looks
        self._messages = RunMessages(facts, quality)
        self._once: list[Message] = []
        self._context = context = foxglove.Context()  # its channels do not keep it
        self._channels = {
            channel.topic: foxglove.Channel(
                channel.topic,
                message_encoding="json",
                schema=foxglove.Schema(
                    name=channel.schema_name, encoding="jsonschema", data=encode(channel.schema)
                ),
                context=context,
            )
            for channel in CHANNELS
        }
        try:
            self._server = foxglove.start_server(
                name="edge_reloc",
                host=host,
                port=port,
                context=context,
                server_listener=_listener(self._tell_again),
                message_backlog_size=BACKLOG,
            )
        except (OSError, RuntimeError) as error:
            raise SinkError(f"foxglove:{host}:{port}: cannot be served ({error})") from None
        #: where to look
        self.about = f"ws://{host}:{self._server.port} for Foxglove"

    def write(self, estimate: PoseEstimate) -> None:
        """Send what there is to say of an estimate."""
        self._send(self._messages.of_estimate(estimate))

    def close(self) -> None:
        """End the connections; safe to call twice."""
        self._server.stop()

    def _send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.once:
                self._once.append(message)
            self._log(message)

    def _log(self, message: Message) -> None:
        channel = self._channels[message.channel.topic]
        if channel.base.has_sinks():
            channel.log(encode(message.content), log_time=max(message.t_ns, 0))

    def _tell_again(self, topic: str) -> None:
        for message in self._once:
            if message.channel.topic == topic:
                self._log(message)

    def _watched(self) -> bool:
        """Whether any viewer wants what looks are made of."""
        return any(self._channels[channel.topic].base.has_sinks() for channel in LOOK_CHANNELS)


class DrawingFoxgloveSink(FoxgloveSink):
    """The same with images and what was found in them."""

    def draw(self, look: Look) -> None:
        """Send a look, if anybody wants it."""
        if self._watched():
            self._send(self._messages.of_look(look))


def _listener(subscribed: Callable[[str], None]) -> Any:
    """Of a server: passes on which topic a viewer subscribed to."""
    from foxglove.websocket import ServerListener

    class Listener(ServerListener):  # type: ignore[misc]
        def on_subscribe(self, client: Any, channel: Any) -> None:
            subscribed(channel.topic)

    return Listener()
