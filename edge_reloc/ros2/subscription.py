"""Images of a topic as a capture: newest wins, as of any camera."""

from __future__ import annotations

import threading
import time
from typing import Any

from ..sources.capture import Shot
from .image_messages import grey_of
from .messages import stamp_of
from .stamps import Stamps


class TopicCapture:
    """`offer` is the callback of a subscription; `read` waits in another thread.

    Nothing is opened or closed: the subscription is its node's. Between images it waits for as
    long as it takes; `close` ends that.
    """

    clock = "ROS's stamps"

    def __init__(self, topic: str, stamps: Stamps) -> None:
        self.about = f"topic {topic}"
        self._stamps = stamps
        self._changed = threading.Condition()
        self._newest: tuple[Any, int] | None = None
        self._lost = 0
        self._closed = False

    def offer(self, message: Any) -> None:
        """The newest sensor_msgs/Image."""
        with self._changed:
            if self._newest is not None:
                self._lost += 1
            self._newest = message, time.monotonic_ns()
            self._changed.notify()

    def read(self) -> Shot | None:
        """The newest image; None when it was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._closed)
            if self._newest is None:
                return None
            (message, received_ns), self._newest = self._newest, None
            lost, self._lost = self._lost, 0
        return Shot(
            image=grey_of(message),
            stamp_ns=self._stamps.monotonic_ns(stamp_of(message.header), received_ns),
            received_ns=received_ns,
            lost=lost,
        )

    def close(self) -> None:
        """Whoever reads gets None."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def release(self) -> None: ...
