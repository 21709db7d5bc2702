"""The demo's poses with the oldest and the newest packages that are allowed, by Python.

`python tests/golden/versions.py --cache out/versions ~/.pyenv/versions/3.1*/bin/python`
makes an environment for each, which is kept, and lets `demo_poses.py` compare all methods there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
#: what oldest leaves open: its OpenCV needs numpy 2; Ubuntu 22.04's, which Jetsons have, numpy 1
STACKS = {
    "oldest": ("cpu", {"numpy": "2.0.0"}),
    "oldest, OpenCV of Ubuntu 22.04": ("cpu", {"opencv-python-headless": "4.5.4.60"}),
    "newest": ("cpu", None),
}


def main() -> int:
    """0 when the poses are the golden ones everywhere."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder for environments")
    parser.add_argument("--stacks", nargs="+", choices=STACKS, default=list(STACKS))
    parser.add_argument("python", nargs="+", help="interpreters")
    options = parser.parse_args()
    failed = 0
    for python in options.python:
        version = _output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        for name in options.stacks:
            folder = options.cache / f"{version}-{name.replace(' ', '_')}"
            wanted = requirements(name, version)
            code = _tried(python, folder, wanted)
            print(f"Python {version}, {name}: {'equal' if code == 0 else 'FAILED'}", flush=True)
            failed += code != 0
    return int(failed > 0)


def requirements(stack: str, version: str) -> list[str]:
    """What pip is asked for: lower bounds as they are written, but for what the stack says."""
    extra, instead = STACKS[stack]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"][extra]]
    found: dict[str, str] = {}
    for text in asked:
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"python_version": version}):
            bounds = re.findall(r">=([\w.]+)", str(one.specifier))
            pinned = f"{one.name}=={bounds[0]}"
            found[one.name] = f"{one.name}{one.specifier}" if instead is None else pinned
    found |= {name: f"{name}=={pinned}" for name, pinned in (instead or {}).items()}
    return list(found.values())


def _tried(python: str, folder: Path, wanted: list[str]) -> int:
    """Exit code of the comparison in an environment with these packages."""
    inside = folder / "bin" / "python"
    holds = folder / "holds.txt"
    if not holds.exists() or holds.read_text().split() != wanted:
        print("  ", *wanted, flush=True)
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        pip = [inside, "-m", "pip", "install", "-qq", "--only-binary=:all:", *wanted]
        if subprocess.run(pip).returncode != 0:
            return 1
        holds.write_text("\n".join(wanted))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    compare = [inside, ROOT / "tests" / "golden" / "demo_poses.py"]
    return subprocess.run(compare, env=env).returncode


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
