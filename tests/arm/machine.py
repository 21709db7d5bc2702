"""A Debian userland with Python and wheels, for this processor or for an emulated ARM.

Nothing is installed: packages are unpacked into a cache folder, and programs are started by the
userland's own loader, or by qemu's user-mode emulation where the processor is another. Both
come from Debian's and Python's package indexes by `apt-get` and `pip`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://deb.debian.org/debian"
#: of Debian 13: with 7.2 (Debian 12) the import of onnxruntime 1.32 ends in a segmentation fault
QEMU_SUITE = "trixie"
LIBRARIES = ("libgomp1", "libstdc++6")
MACHINE = {"arm64": "aarch64", "amd64": "x86_64"}
LOADER = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
WHEEL_TAGS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One set of versions that the runtime is tried with."""

    name: str
    python: str
    #: Debian's release that carries this Python
    suite: str
    wheels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A stack unpacked for one architecture, ready to start Python."""

    start: tuple[str, ...]
    env: dict[str, str]
    #: of Python
    version: str

    def python(self, *arguments: str | Path, log: Path) -> None:
        """Run Python with these arguments; raises CalledProcessError, with the words in log."""
        with log.open("w") as words:
            subprocess.run(
                [*self.start, *map(str, arguments)],
                env=self.env,
                stdout=words,
                stderr=subprocess.STDOUT,
                check=True,
            )


def unpacked(
    stack: Stack,
    architecture: str,
    cache: Path,
    runtime: Path,
    *,
    cpu: str,
    own: Path | None = None,
) -> Machine:
    """Fetch what the cache lacks.

    runtime: folder that holds `edge_reloc`. own: prefix of a Python instead of Debian's.
    """
    root = debian(cache, stack.suite, architecture, (f"python{stack.python}", *LIBRARIES))
    program = root / "usr" / "bin" / f"python{stack.python}"
    if own is not None:
        (program,) = (own / "bin").glob("python3.[0-9][0-9]")
    version = program.name.removeprefix("python")
    site = wheels(cache, stack, version, architecture)
    env = {
        "HOME": str(cache),
        "PYTHONHOME": str(program.parents[1]),
        "PYTHONPATH": os.pathsep.join((str(runtime), str(site))),
        "PYTHONPYCACHEPREFIX": str(cache / "pycache" / stack.name),
        "OMP_NUM_THREADS": "1",
        "QEMU_CPU": cpu,
    }
    if architecture == "arm64":
        qemu = debian(cache, QEMU_SUITE, "amd64", ("qemu-user",), only=True)
        start = (str(qemu / "usr/bin/qemu-aarch64"), "-L", str(root), str(program))
    else:
        libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"
        start = (str(root / LOADER), "--library-path", libraries, str(program))
    return Machine(start=start, env=env, version=version)


def debian(
    cache: Path, suite: str, architecture: str, packages: Sequence[str], *, only: bool = False
) -> Path:
    """Folder with Debian packages unpacked, with all they depend on unless only."""
    folder = cache / f"{suite}-{architecture}-{packages[0]}"
    state = cache / "apt" / folder.name
    options = _apt_options(state, architecture)

    def fill(root: Path) -> None:
        for part in ("lists/partial", "archives/partial"):
            (state / part).mkdir(parents=True, exist_ok=True)
        (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
        _run("apt-get", *options, "-qq", "update")
        if only:
            _run("apt-get", *options, "-qq", "download", *packages, cwd=state / "archives")
        else:
            _run("apt-get", *options, "-qq", "-y", "--download-only", "install", *packages)
        for package in (state / "archives").glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(root))
        if not (root / "lib").exists():  # since Debian 13 a link that comes with no package
            (root / "lib").symlink_to("usr/lib")

    return _once(folder, fill)


def wheels(cache: Path, stack: Stack, version: str, architecture: str) -> Path:
    """Folder with the stack's wheels of one architecture, unpacked as pip unpacks them."""
    tags = (f"--platform={tag}_{MACHINE[architecture]}" for tag in WHEEL_TAGS)
    name = f"{stack.name}-{version}-{architecture}"
    fetched = cache / "wheels" / name

    def fill(site: Path) -> None:
        _run(
            *(sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--implementation=cp", f"--dest={fetched}"),
            *(f"--python-version={version}", *tags, *stack.wheels),
        )
        for wheel in fetched.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(site)

    return _once(cache / f"site-{name}", fill)


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder whole or not at all, so that an interrupted run can be started again."""
    if not folder.exists():
        print(f"getting {folder.name}", file=sys.stderr, flush=True)
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished)
        unfinished.rename(folder)
    return folder


def _apt_options(state: Path, architecture: str) -> list[str]:
    """Options by which apt-get sees another Debian and touches nothing of this one."""
    values = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::State::status": "/dev/null",
    }
    return [f"-o{key}={value}" for key, value in values.items()]


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL)
