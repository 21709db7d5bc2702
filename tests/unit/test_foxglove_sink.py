"""The live view in Foxglove, by a client that speaks its protocol (foxglove.sdk.v1)."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("foxglove", reason="pip install 'edge-reloc[foxglove]'")
client = pytest.importorskip("websockets.sync.client", reason="pip install websockets")
from viewed_run import FACTS, PERIOD_NS, estimate, look

from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.foxglove import BACKLOG, DrawingFoxgloveSink
from edge_reloc.sinks.run_messages import CHANNELS

WAIT_S = 20.0  # no test gets near it
PROTOCOL = "foxglove.sdk.v1"
MESSAGE_DATA = 1  # the first byte of a message: its kind, subscription and time follow


class Viewer:
    """Subscribes to topics and keeps what comes."""

    def __init__(self, port: int, topics: list[str]) -> None:
        self._stack = contextlib.ExitStack()
        connected = client.connect(
            f"ws://127.0.0.1:{port}", subprotocols=[PROTOCOL], max_queue=1, close_timeout=0.1
        )
        self._socket = self._stack.enter_context(connected)
        assert self._socket.subprotocol == PROTOCOL
        self.channels: dict[str, dict[str, Any]] = {}
        while len(self.channels) < len(CHANNELS):
            told = json.loads(self._socket.recv(timeout=WAIT_S))
            self.channels.update({c["topic"]: c for c in told.get("channels", [])})
        self._topics = dict(enumerate(topics))
        wanted = [{"id": i, "channelId": self.channels[t]["id"]} for i, t in self._topics.items()]
        self._socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))

    def next(self) -> tuple[str, int, dict[str, Any]]:
        """Topic, time and content of a message."""
        while isinstance(told := self._socket.recv(timeout=WAIT_S), str):
            pass
        kind, subscription, t_ns = struct.unpack_from("<BIQ", told)
        assert kind == MESSAGE_DATA
        return self._topics[subscription], t_ns, json.loads(told[13:])

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def sink() -> Iterator[DrawingFoxgloveSink]:
    opened = open_sink("foxglove:0", FACTS)
    assert isinstance(opened, DrawingFoxgloveSink)
    yield opened
    opened.close()
    opened.close()


def port_of(sink: DrawingFoxgloveSink) -> int:
    return int(sink.about.split(" ")[0].rpartition(":")[2])


def test_a_viewer_that_comes_late_gets_the_map_and_then_every_pose(
    sink: DrawingFoxgloveSink,
) -> None:
    sink.write(estimate(0))
    viewer = Viewer(port_of(sink), ["/map/points", "/camera/pose"])
    for topic, channel in viewer.channels.items():
        (ours,) = (c for c in CHANNELS if c.topic == topic)
        assert channel["schemaName"] == ours.schema_name and channel["encoding"] == "json"
        assert json.loads(channel["schema"]) == ours.schema
    topic, t_ns, cloud = viewer.next()
    assert (topic, t_ns) == ("/map/points", 0) and len(cloud["data"]) == 50 * 12 * 4 // 3
    for index in range(1, 4):
        sink.write(estimate(index))
        topic, t_ns, pose = viewer.next()
        assert (topic, t_ns) == ("/camera/pose", index * PERIOD_NS)
        assert pose["timestamp"] == {"sec": 0, "nsec": index * PERIOD_NS}
    viewer.close()


def test_images_go_to_those_who_want_them(sink: DrawingFoxgloveSink) -> None:
    sink.write(estimate(0))
    sink.draw(look(0))  # nobody is there
    viewer = Viewer(port_of(sink), ["/camera/calibration", "/camera/image"])
    assert viewer.next()[0] == "/camera/calibration"  # so that it is subscribed
    sink.draw(look(1))
    topic, t_ns, image = viewer.next()
    assert (topic, t_ns, image["format"]) == ("/camera/image", PERIOD_NS, "jpeg")
    viewer.close()


def test_viewers_that_read_nothing_or_die_hold_nobody_up(sink: DrawingFoxgloveSink) -> None:
    port = port_of(sink)
    sink.write(estimate(0))
    Viewer(port, ["/edge_reloc/estimate"])  # reads nothing
    dead = Viewer(port, ["/edge_reloc/estimate"])
    dead._socket.socket.shutdown(socket.SHUT_RDWR)
    good = Viewer(port, ["/map/points", "/camera/pose"])
    assert good.next()[0] == "/map/points"
    for index in range(1, 4 * BACKLOG):
        sink.write(estimate(index))
        if index % 50 == 1:  # a step with it, so that it is no slow one itself
            while good.next()[1] < index * PERIOD_NS:
                pass
    good.close()


def test_a_port_that_is_taken_or_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SinkError, match=f"foxglove:127.0.0.1:{port}: cannot be served"):
            open_sink(f"foxglove:{port}")
    with pytest.raises(ConfigError, match="foxglove:far:99999: port '99999', expected a number"):
        open_sink("foxglove:far:99999")
