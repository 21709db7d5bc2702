"""What sensors tell of a frame may be nonsense: no frame raises for it, none believes it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from edge_reloc.arrays import U8
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.localizer import Localizer
from edge_reloc.running.demo import DEMO
from edge_reloc.running.supervisor import Supervisor
from edge_reloc.sinks.advice import Advice
from edge_reloc.sources.photo import read_photo
from edge_reloc.structs import Frame, Status
from edge_reloc.tiles.any_map import open_localizer

PERIOD_NS = 100_000_000
HONEST = 3  # frames that come first
nan, inf = float("nan"), float("inf")


def moved(x: float) -> np.ndarray:
    out = np.eye(4)
    out[0, 3] = x
    return out


@pytest.fixture(scope="module")
def images() -> list[U8]:
    return [read_photo(path) for path in sorted((DEMO / "frames").iterdir())[: HONEST + 2]]


@pytest.fixture(scope="module")
def localizer() -> Iterator[Localizer]:
    with open_localizer(
        DEMO / "map", DEMO / "camera.json", method="image_retrieval", tracking=True, threads=1
    ) as opened:
        yield opened


@pytest.mark.parametrize(
    "told",
    [
        {"odom_from_cam": moved(nan)},  # as PX4 says that it has no position
        {"odom_from_cam": moved(inf)},
        {"odom_from_cam": moved(1e300)},
        {"odom_from_cam": np.zeros((4, 4))},
        {"odom_from_cam": 1e200 * np.eye(4)},
        {"odom_from_cam": np.eye(4)[:3]},
        {"odom_from_cam": "nothing"},
        {"down": np.array([nan, 0, 0])},
        {"down": np.zeros(3)},
        {"down": np.array([1e308, 1e308, 0])},
        {"down": np.ones(4)},
        {"down": np.ones((1, 3))},
    ],
)
def test_nonsense_is_as_if_nothing_were_told(
    localizer: Localizer, images: list[U8], told: dict[str, Any]
) -> None:
    localizer.search_next()  # as if it had seen nothing yet
    supervisor = Supervisor(metre=1.0, localizer=localizer)
    honest = {"odom_from_cam": np.eye(4)} if "odom_from_cam" in told else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for index, image in enumerate(images):
            more = honest if index < HONEST else told
            frame = Frame(image=image, t_ns=index * PERIOD_NS, index=index, **more)
            supervisor.before(frame.t_ns, frame.odometry)
            estimate = supervisor.judge(frame, localizer.localize(frame).estimate)
            assert estimate.status is Status.OK, estimate.reason


def test_a_motion_in_few_digits_is_one() -> None:
    frame = Frame(image=np.zeros((4, 4), np.uint8), t_ns=0, odom_from_cam=np.eye(4).round(3))
    assert frame.odometry is not None and frame.vertical is None


def test_an_autopilot_without_a_position_tells_none() -> None:
    advice = Advice()
    advice.tell_rotation(0, np.eye(3))
    advice.tell_place(0, np.array([nan, 0, 0]))
    frame = advice.frame(Frame(image=np.zeros((4, 4), np.uint8), t_ns=0), MOUNTS["front"])
    assert frame.down is not None and frame.odom_from_cam is None
