"""Localisation beside receivers that are slow, deaf or dying: its time must not change.

    python tests/benchmarks/receivers.py --to mavlink:tcp:127.0.0.1:{unread} \
        --to mavlink:udpout:127.0.0.1:{deaf} --to mavlink:{serial},921600

Blocks of frames, in turn without and with the receivers of `--to` (any address that `open_sink`
takes). In an address {unread} is a TCP port that accepts and never reads, {dying} one that closes
whatever comes after half a second, {deaf} a UDP port where nobody listens, {serial} a serial port
that is never read. Before each block with receivers so many estimates are written that what blocks
has blocked. Prints wall and processor time of a frame, its localisation and its sinks, and what was
dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import edge_reloc
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.localizer import Localizer
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.background import BackgroundSinks
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.structs import Frame

DEMO = Path(edge_reloc.__file__).parent / "demo"
DYING_S = 0.5
SETTLE_S = 2.0  # until what waits is sent, too old or stuck


@contextlib.contextmanager
def bad_ends() -> Iterator[dict[str, str]]:
    """What stands for the names in braces."""
    closing = threading.Event()
    with contextlib.ExitStack() as stack:
        unread = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dying = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        dying.settimeout(0.1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            deaf = taken.getsockname()[1]
        ours, theirs = os.openpty()
        tty.setraw(ours)
        stack.callback(os.close, ours)
        stack.callback(os.close, theirs)

        def kill() -> None:
            while not closing.is_set():
                with contextlib.suppress(TimeoutError), dying.accept()[0]:
                    closing.wait(DYING_S)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        yield {
            "unread": str(unread.getsockname()[1]),
            "dying": str(dying.getsockname()[1]),
            "deaf": str(deaf),
            "serial": os.ttyname(theirs),
        }
        closing.set()
        killer.join()


def block(
    localizer: Localizer, images: list[np.ndarray], addresses: list[str], prefill: int
) -> tuple[list[float], list[float], int]:
    """Milliseconds of wall and of processor time a frame, and estimates dropped."""
    sinks = BackgroundSinks(live=True)
    facts = RunFacts(
        world=localizer.bundle.manifest.world,
        camera=localizer.camera.mounted(MOUNTS["front"]),
        live=True,
    )
    for address in addresses:
        sinks.add(open_sink(address, facts), address)
    estimate = localizer.localize(images[0]).estimate
    for _ in range(prefill if addresses else 0):
        sinks.write(replace(estimate, t_ns=time.monotonic_ns()))
    time.sleep(SETTLE_S)
    walls, processors = [], []
    for index, image in enumerate(images):
        wall, processor = time.perf_counter(), time.process_time()
        frame = Frame(image=image, t_ns=time.monotonic_ns(), index=index)
        sinks.write(localizer.localize(frame).estimate)
        walls.append((time.perf_counter() - wall) * 1e3)
        processors.append((time.process_time() - processor) * 1e3)
    dropped = sum(sinks.dropped().values())
    sinks.close()
    return walls, processors, dropped


def tell(name: str, walls: list[float], processors: list[float], dropped: int) -> None:
    """A row."""
    p50, p95, p99, most = np.quantile(walls, [0.5, 0.95, 0.99, 1.0])
    cpu50, cpu99 = np.quantile(processors, [0.5, 0.99])
    numbers = " ".join(f"{number:>9.1f}" for number in (p50, p95, p99, most, cpu50, cpu99))
    print(f"{name:<18} {len(walls):>9} {numbers} {dropped:>9}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, default=DEMO / "map")
    parser.add_argument("--photos", type=Path, default=DEMO / "frames")
    parser.add_argument("--method", default=None)
    parser.add_argument("--to", action="append", required=True, metavar="ADDRESS")
    parser.add_argument("--rounds", type=int, default=4, help="blocks of each kind")
    parser.add_argument("--frames", type=int, default=24, help="of a block")
    parser.add_argument("--prefill", type=int, default=20_000, help="estimates before a block")
    options = parser.parse_args()
    paths = sorted(path for path in options.photos.iterdir() if path.suffix != ".txt")
    images = [cv2.imread(str(paths[i % len(paths)]), 0) for i in range(options.frames)]
    columns = ("frames", "p50 ms", "p95 ms", "p99 ms", "max ms", "cpu p50", "cpu p99", "dropped")
    with bad_ends() as ends, edge_reloc.open(options.map, method=options.method) as localizer:
        addresses = [address.format(**ends) for address in options.to]
        localizer.warm_up(images[0])
        sums: dict[str, tuple[list[float], list[float], int]] = {}
        for _ in range(options.rounds):
            for name, to in (("without receivers", []), ("with receivers", addresses)):
                walls, processors, dropped = block(localizer, images, to, options.prefill)
                before = sums.get(name, ([], [], 0))
                sums[name] = before[0] + walls, before[1] + processors, before[2] + dropped
    print(f"{'':<18} " + " ".join(f"{column:>9}" for column in columns))
    for name, values in sums.items():
        tell(name, *values)


if __name__ == "__main__":
    main()
