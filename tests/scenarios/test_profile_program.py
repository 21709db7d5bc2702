"""`edge-reloc profile` and memory budgets as users see them, on the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess
from typing import ClassVar

import pytest
from plane_world import PlaneWorld

Program = Callable[..., CompletedProcess[str]]

# Two rounds of the demo's 80 frames to settle, two to tell growth. What allocations of
# Python's may stay: its own caches still filling, not a frame's worth of anything.
STEADY_FRAMES = 320
PYTHON_NET_BYTES = 2000


def test_the_demo_keeps_its_plan_and_does_not_grow(edge_reloc: Program, tmp_path: Path) -> None:
    done = edge_reloc(
        *("profile", "--demo", "--frames", STEADY_FRAMES, "--save", "p.json", "--html", "p.html"),
        *("--assert", "growth_bytes==0", "--assert", "arena_unplanned_bytes==0"),
        *("--assert", f"python_net_bytes<{PYTHON_NET_BYTES}", "--assert", "localized_share==1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    profile = json.loads((tmp_path / "p.json").read_text())
    figures = profile["figures"]
    assert figures["frames"] == STEADY_FRAMES
    assert profile["arena_bytes"] == sum(
        row["nbytes"] for row in profile["footprint"]["rows"] if row["kind"] in ARENA_KINDS
    )
    assert figures["added_mb"] <= figures["planned_mb"]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert len(profile["latency_ms"]) == STEADY_FRAMES
    frames = [sample["frame"] for sample in profile["samples"]]
    assert frames == list(range(10, STEADY_FRAMES + 1, 10))
    assert "used at most" in done.stdout and "growth     heap" in done.stdout
    page = Page()
    page.feed((tmp_path / "p.html").read_text())
    assert page.open == [] and page.curves >= 4
    assert page.outside == []


ARENA_KINDS = ("I/O", "buffers", "scratch")


class Page(HTMLParser):
    """Tags that stay open, drawn curves, and what the page wants from elsewhere."""

    VOID: ClassVar = {"meta", "rect", "line", "polyline", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.curves = 0
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.curves += tag == "polyline"
        self.outside += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID and tag not in ("p",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and tag != "p":
            assert self.open.pop() == tag


def test_a_failed_condition_is_named_and_fails(edge_reloc: Program) -> None:
    done = edge_reloc(
        *("profile", "--demo", "--frames", "3", "--no-allocations"),
        *("--assert", "arena_bytes<1000", "--assert", "frames==3", "--assert", "growth_bytes==0"),
    )
    assert done.returncode == 1
    failed = done.stderr.splitlines()
    assert len(failed) == 2
    assert failed[0].startswith("failed: arena_bytes<1000: arena_bytes is ")
    assert failed[1] == (
        "failed: growth_bytes==0: growth_bytes is unknown: too short a run, or not told here"
    )


def test_comparison_shows_what_moved(edge_reloc: Program, tmp_path: Path) -> None:
    short = ("profile", "--demo", "--frames", "3", "--no-allocations")
    assert edge_reloc(*short, "--save", "old.json").returncode == 0
    done = edge_reloc(*short, "--match-block", "128", "--compare", "old.json")
    assert done.returncode == 0, done.stderr
    moved = [line.split() for line in done.stdout.splitlines() if line.startswith("arena_bytes")]
    assert len(moved) == 1
    assert int(moved[0][2]) < int(moved[0][1]) and moved[0][3].startswith("-")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--assert", "speed"), "error: --assert 'speed': expected a comparison"),
        (("--assert", "speed>1"), "error: --assert 'speed>1': no figure 'speed'; expected one of"),
        (("--compare", "none.json"), "error: none.json: cannot be read (No such file"),
        (("--faults", "none.json"), "error: none.json: cannot be read (No such file"),
        (("--samples", "no/such/s.jsonl"), "error: no/such/s.jsonl: there is no folder no/such"),
        (("--budget", "20MiB"), "error: --budget 20MiB: "),
    ],
)
def test_bad_input_is_one_line(edge_reloc: Program, arguments: tuple[str, ...], line: str) -> None:
    done = edge_reloc("profile", "--demo", "--frames", "2", "--no-allocations", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1, done.stderr


def test_an_interrupted_soak_keeps_its_samples(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_reloc", "profile", "--demo", "--seconds", "3600"]
    command += ["--sample-every", "1", "--samples", "soak.jsonl", "--no-allocations"]
    samples = tmp_path / "soak.jsonl"
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as soak:
        deadline = time.monotonic() + 600
        while not samples.exists() or len(samples.read_text().splitlines()) < 3:
            assert soak.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        soak.send_signal(signal.SIGINT)
        out, errors = soak.communicate(timeout=600)
    assert soak.returncode == 0, errors
    assert "localize" in out and "arena" in out
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(1, len(lines) + 1))
    assert all(line["rss_bytes"] > 0 for line in lines)


def test_a_scenario_of_faults(edge_reloc: Program, tmp_path: Path, corner: PlaneWorld) -> None:
    (tmp_path / "faults.json").write_text(
        json.dumps({"drop_every": 5, "freeze_every": 7, "corrupt_every": 4, "slow_sink_ms": 1})
    )
    run = ("profile", "--map", corner.bundle, "--source", corner.frames, "--frames", "40")
    done = edge_reloc(*run, "--no-allocations", "--faults", "faults.json", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["frames"] == 40
    (tmp_path / "faults.json").write_text(json.dumps({"sink_fails_after": 3}))
    done = edge_reloc(*run, "--no-allocations", "--faults", "faults.json")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the sink of the scenario: cannot be written after 3")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")
def test_samples_on_a_full_disk(edge_reloc: Program) -> None:
    done = edge_reloc(
        *("profile", "--demo", "--frames", "30", "--samples", "/dev/full", "--no-allocations")
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: /dev/full: writing stopped (No space left on device); "
        "the lines before that are in the file\n"
    )


def test_a_budget_that_fits_and_one_that_is_made_to(edge_reloc: Program) -> None:
    run = ("run", "--demo", "--frames", "3", "--threads", "1", "--json", "--match-block", "512")
    done = edge_reloc(*run, "--budget", "256MiB")
    assert done.returncode == 0, done.stderr
    arena = json.loads(done.stdout)["arena_bytes"]
    refused = edge_reloc(*run, "--budget", "20MiB")
    assert refused.returncode == 1
    planned = float(refused.stderr.split(" MiB are planned")[0].split()[-1])
    # Smaller blocks of matching save up to 2.9 MiB, and what libraries hold differs by up to
    # one from run to run.
    tight = f"{planned - 1.5:.1f}MiB"
    refused = edge_reloc(*run, "--budget", tight)
    assert refused.returncode == 1 and "--match-block" in refused.stderr
    fitted = edge_reloc(*run, "--budget", tight, "--fit")
    assert fitted.returncode == 0, fitted.stderr
    assert json.loads(fitted.stdout)["arena_bytes"] < arena
