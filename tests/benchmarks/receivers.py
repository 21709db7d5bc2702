"""Localisation beside receivers that are slow, deaf or dying: its time must not change.

    python tests/benchmarks/receivers.py --to mavlink:tcp:127.0.0.1:{unread} \
        --to mavlink:udpout:127.0.0.1:{deaf} --to mavlink:{serial},921600

Blocks of frames, in turn without and with the receivers of `--to` (any address that `open_sink`
takes). In an address {unread} is a TCP port that accepts and never reads, {dying} one that closes
whatever comes after half a second, {deaf} a UDP port where nobody listens, {serial} a serial port
that is never read. Before each block with receivers so many estimates are written that what blocks
has blocked. Prints of a frame, its localisation and what hands it to the sinks: wall time,
processor time of its own thread, which other programs on the machine hardly touch, and of the whole
process; what was dropped; and the ratio of the 99th percentiles with its 95 % interval, by a
bootstrap of whole blocks: where 1 lies within, no difference was seen.
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
from typing import NamedTuple

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
BOOTSTRAPS = 2000
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


class Block(NamedTuple):
    """Frames of a kind."""

    #: (N,3) wall, processor time of the thread, of the process
    ms: np.ndarray
    #: estimates
    dropped: int


def block(
    localizer: Localizer, images: list[np.ndarray], addresses: list[str], prefill: int
) -> Block:
    """Localise images one after the other and hand them to sinks of `addresses`."""
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
    taken = []
    for index, image in enumerate(images):
        begun = clocks()
        frame = Frame(image=image, t_ns=time.monotonic_ns(), index=index)
        sinks.write(localizer.localize(frame).estimate)
        taken.append(clocks() - begun)
    dropped = sum(sinks.dropped().values())
    sinks.close()
    return Block(np.array(taken), dropped)


def clocks() -> np.ndarray:
    """Milliseconds of the wall, of this thread and of this process (3,)."""
    return 1e3 * np.array([time.perf_counter(), time.thread_time(), time.process_time()])


def tell(name: str, blocks: list[Block]) -> None:
    """A row."""
    wall, thread, process = np.concatenate([block.ms for block in blocks]).T
    numbers = [*np.quantile(wall, [0.5, 0.95, 0.99, 1.0]), *np.quantile(thread, [0.5, 0.99])]
    numbers += [np.median(process)]
    row = " ".join(f"{number:>9.1f}" for number in numbers)
    print(f"{name:<18} {len(wall):>9} {row} {sum(block.dropped for block in blocks):>9}")


def ratio_of_p99(alone: list[Block], beside: list[Block], clock: int) -> str:
    """With its interval; both resampled together, block of a round by block of that round."""
    rng = np.random.default_rng(0)
    rounds = np.arange(len(alone))

    def ratio(chosen: np.ndarray) -> float:
        p99 = [
            np.quantile(np.concatenate([blocks[i].ms[:, clock] for i in chosen]), 0.99)
            for blocks in (beside, alone)
        ]
        return float(p99[0] / p99[1])

    drawn = [ratio(rng.choice(rounds, len(rounds))) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{ratio(rounds):.3f} ({low:.3f} to {high:.3f})"


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
    columns = (
        *("frames", "p50 ms", "p95 ms", "p99 ms", "max ms"),
        *("own p50", "own p99", "cpu p50", "dropped"),
    )
    with bad_ends() as ends, edge_reloc.open(options.map, method=options.method) as localizer:
        kinds = {
            "without receivers": [],
            "with receivers": [address.format(**ends) for address in options.to],
        }
        localizer.warm_up(images[0])
        blocks: dict[str, list[Block]] = {name: [] for name in kinds}
        for turn in range(options.rounds):
            for name in list(kinds)[:: 1 - 2 * (turn % 2)]:  # neither kind is always the second
                blocks[name].append(block(localizer, images, kinds[name], options.prefill))
    print(f"{'':<18} " + " ".join(f"{column:>9}" for column in columns))
    for name, of_kind in blocks.items():
        tell(name, of_kind)
    print(f"p99, with by without: wall {ratio_of_p99(*blocks.values(), 0)}, ", end="")
    print(f"own thread {ratio_of_p99(*blocks.values(), 1)}")


if __name__ == "__main__":
    main()
