"""The files that make a service of a Jetson's camera."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_reloc.run import parse

PACKAGING = Path(__file__).parents[2] / "packaging"


def test_options_of_the_service_are_those_of_run() -> None:
    (line,) = re.findall(
        r"^EDGE_RELOC_OPTIONS=(.*)$", (PACKAGING / "edge-reloc.env").read_text(), re.MULTILINE
    )
    options = parse(shlex.split(line))
    assert options.source == "v4l2:///dev/camera-front"
    rules = (PACKAGING / "70-edge-reloc.rules").read_text()
    assert 'SYMLINK+="camera-front"' in rules


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = (PACKAGING / "edge-reloc.service").read_text()
    installed, count = re.subn(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "edge-reloc.service").write_text(installed)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "edge-reloc.service"],
        capture_output=True,
        text=True,
    )
    assert "edge-reloc" not in done.stderr
