"""A Ray cluster of two machines, as two network namespaces of this one: is the map the same?

    sudo python tests/cluster/namespaces.py

Each namespace is a node of its own with one processor; a pair of virtual cables joins them. The
demo's photos are mapped in tiles by the cluster from within the first node, then once more while
the second node is killed in the middle; both maps must be what a local process makes. Needs
root, `ip` and Ray; what was made of namespaces is taken away again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from cluster import demo_photos
from mapping import hashes, processor_s

HEAD, NODE = "er-head", "er-node"
ADDRESS = {HEAD: "10.77.0.1", NODE: "10.77.0.2"}
PORT = 6399
KILLED_AFTER_S = 40.0


def sh(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def within(name: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", name, *command]


def lay_cables() -> None:
    for name in (HEAD, NODE):
        sh("ip", "netns", "add", name)
        sh(*within(name, "ip", "link", "set", "lo", "up"))
    sh("ip", "link", "add", "er0", "netns", HEAD, "type", "veth", "peer", "er1", "netns", NODE)
    for name, end in ((HEAD, "er0"), (NODE, "er1")):
        sh(*within(name, "ip", "address", "add", f"{ADDRESS[name]}/24", "dev", end))
        sh(*within(name, "ip", "link", "set", end, "up"))


def pids(name: str) -> list[int]:
    return [int(pid) for pid in sh("ip", "netns", "pids", name).split()]


def end(name: str) -> None:
    """Kill what runs in a namespace, which only this script started."""
    for pid in pids(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start(name: str, folder: Path) -> None:
    """The head, or a node that joins it."""
    own = ["--head", "--port", str(PORT)] if name == HEAD else ["--address", head_address()]
    if name == HEAD:
        own += ["--include-dashboard", "false", "--temp-dir", str(folder)]
    program = [sys.executable, "-m", "ray.scripts.scripts", "start", *own]
    told = ["--node-ip-address", ADDRESS[name], "--num-cpus", "1", "--disable-usage-stats"]
    subprocess.run(within(name, *program, *told), check=True, stdout=subprocess.DEVNULL)


def head_address() -> str:
    return f"{ADDRESS[HEAD]}:{PORT}"


def made(folder: Path, arguments: Sequence[str], before: Sequence[str] = ()) -> str:
    """The hash of the map that `edge-reloc map` makes, with its time."""
    output = folder / "map"
    command = [*before, sys.executable, "-m", "edge_reloc", "map", *arguments]
    begun = time.perf_counter()
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return f"{time.perf_counter() - begun:7.1f} s  {hashes(output)}"


def node_spent() -> float:
    return sum(processor_s(pid) for pid in pids(NODE))


def main() -> int:
    """Print a row for every way; 1 where two maps differ."""
    # Nodes and programs know each other by it.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    tiled = [*demo_photos(), "--tile-photos", "30", "--cluster"]
    rows = []
    with tempfile.TemporaryDirectory(prefix="er") as name:
        folder = Path(name)
        rows.append(made(folder / "local", [*tiled, "local:1"]))
        print(f"{'one local process':<34} {rows[-1]}", flush=True)
        try:
            lay_cables()
            start(HEAD, folder / "ray")
            start(NODE, folder / "ray")
            cluster = [*tiled, head_address()]
            rows.append(made(folder / "two", cluster, within(HEAD)))
            shares = [sum(map(processor_s, pids(n))) for n in (HEAD, NODE)]
            print(f"{'two nodes':<34} {rows[-1]}", flush=True)
            print(f"  processor time so far: {shares[0]:.0f} s head, {shares[1]:.0f} s node")
            killer = threading.Timer(KILLED_AFTER_S, end, (NODE,))
            killer.start()
            rows.append(made(folder / "one", cluster, within(HEAD)))
            print(f"{'two nodes, one of them killed':<34} {rows[-1]}", flush=True)
            print(f"  alive at the end: {'both' if pids(NODE) else 'the head alone'}")
            killer.cancel()
        finally:
            for space in (NODE, HEAD):
                if space in sh("ip", "netns", "list"):
                    end(space)
                    sh("ip", "netns", "delete", space)
    same = len({row.split()[-1] for row in rows}) == 1
    print("all the same" if same else "NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
