"""The doctor on machines made of files: two Jetsons, a desktop, a laptop, ruins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_reloc.diagnosis.cameras import check_cameras
from edge_reloc.diagnosis.check import Check, State
from edge_reloc.diagnosis.clocks import check_power
from edge_reloc.diagnosis.graphics import check_gpu
from edge_reloc.diagnosis.headroom import check_memory
from edge_reloc.diagnosis.packages import check_packages, find_package
from edge_reloc.diagnosis.storage import check_map
from edge_reloc.diagnosis.system import check_system, find_jetson
from edge_reloc.doctor import examine, to_text
from edge_reloc.running.demo import DEMO

ORIN = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
    "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
    "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit\0",
    "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
    "usr/lib/python3.10/dist-packages/tensorrt/__init__.py": "",
    "usr/lib/python3.10/dist-packages/cv2/__init__.py": "",
    "var/lib/nvpmodel/status": "pmode:0000",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    "< PM_CONFIG DEFAULT=0 >\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1728000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48250\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/video4linux/video0/name": "vi-output, imx219 9-0010\n",
    "dev/video0": "",
    "proc/meminfo": "MemTotal:        7801872 kB\nMemAvailable:     390000 kB\n"
    "SwapTotal:       3900928 kB\nSwapFree:        1900928 kB\n",
}
THOR = {
    "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, "
    "EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025\n",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  "
    "580.00  Release Build  (buildbrain)\n",
    "usr/local/cuda/include/cuda.h": "#define CUDA_VERSION 13000\n",
    "var/lib/nvpmodel/status": "pmode:0000",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "proc/meminfo": "MemTotal: 128000000 kB\nMemAvailable: 120000000 kB\n",
}
DESKTOP = {
    "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04 LTS"\n',
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  "
    "Thu Feb 22 01:44:30 UTC 2024\n",
    "proc/meminfo": "MemTotal: 64000000 kB\nMemAvailable: 32000000 kB\n",
    "sys/class/video4linux/video0/name": "HD Webcam\n",
    "dev/video0": "",
    "sys/class/video4linux/video10/name": "Loopback\n",
    "dev/video10": "",
}
LAPTOP = {
    "etc/os-release": "PRETTY_NAME=Debian\n",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
}
WITH_GSTREAMER = "4.8.0\n  Video I/O:\n    GStreamer:                   YES (1.20.3)\n"
WITHOUT_GSTREAMER = "4.11.0\n    GStreamer:                   NO\n"


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    def make(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


def having(**versions: str) -> Callable[[str], str | None]:
    return versions.get


def look(root: Path, find: Callable[[str], str | None], build: str | None) -> dict[str, Check]:
    """Every check by its subject."""
    jetson = find_jetson(root)
    checks = [
        *check_system(root),
        *check_gpu(root, jetson),
        *check_packages(root, jetson, find, lambda: build),
        *check_cameras(root),
        *check_power(root, jetson),
        *check_memory(root, jetson),
    ]
    assert all(check.cure for check in checks if check.state is State.MISSING)
    return {check.subject: check for check in checks}


def test_an_orin_with_a_closed_virtual_environment(machine: Callable[..., Path]) -> None:
    found = look(machine(ORIN), having(numpy="1.26.4", pykdtree="1.4.3", threadpoolctl="3.5"), None)
    assert found["JetPack"].found == "JetPack 6, Jetson Linux 36.4.3"
    assert found["board"].found == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit"
    assert found["CUDA"].found == "12.6.11, in /usr/local/cuda"
    for subject, state in (("TensorRT", State.NOTE), ("OpenCV", State.MISSING)):
        assert found[subject].state is state
        assert "hidden from this virtual environment" in found[subject].found
        assert "--system-site-packages" in found[subject].cure
    assert found["ONNX Runtime"].cure == "pip install onnxruntime"
    assert "docs/jetson.md" in found["pycuda"].cure
    assert found["power mode"].found == "15W, not the fastest"
    assert "sudo nvpmodel -m 2 (MAXN_SUPER)" in found["power mode"].cure
    assert "1 held below their highest clock" in found["clocks"].found
    assert found["temperature"].found == "48 °C at most (cpu-thermal)"
    assert found["memory"].state is State.NOTE and "shared with the GPU" in found["memory"].found
    assert found["swap"].found == "1953 MiB in use: frames will stutter"


def test_an_orin_as_it_should_be(machine: Callable[..., Path]) -> None:
    packages = having(
        numpy="1.26.4",
        pykdtree="1.4.3",
        threadpoolctl="3.5",
        cv2="",
        tensorrt="10.3.0",
        onnxruntime="1.19.2",
        pycuda="2024.1",
    )
    files = {
        **ORIN,
        "var/lib/nvpmodel/status": "pmode:0002",
        "proc/meminfo": "MemTotal: 7801872 kB\nMemAvailable: 5000000 kB\n",
    }
    found = look(machine(files), packages, WITH_GSTREAMER)
    assert found["OpenCV"] == Check(subject="OpenCV", state=State.OK, found="4.8.0, with GStreamer")
    assert found["TensorRT"].found == "10.3.0"
    assert found["power mode"] == Check(subject="power mode", state=State.OK, found="MAXN_SUPER")
    assert not [c for c in found.values() if c.state is State.MISSING]


def test_opencv_of_the_package_index_hides_gstreamer_on_a_jetson(
    machine: Callable[..., Path],
) -> None:
    found = look(machine(ORIN), having(cv2="4.11.0"), WITHOUT_GSTREAMER)["OpenCV"]
    assert found.state is State.NOTE and "no CSI cameras" in found.found
    assert found.cure.startswith("pip uninstall opencv-python")


def test_a_thor(machine: Callable[..., Path]) -> None:
    packages = having(
        numpy="2.2", pykdtree="1.4.3", threadpoolctl="3.5", cv2="4.6.0", tensorrt="10.13.2"
    )
    found = look(machine(THOR), packages, WITH_GSTREAMER)
    assert found["JetPack"].found == "JetPack 7, Jetson Linux 38.2.0"
    assert found["driver"].found == "NVIDIA 580.00"
    assert found["CUDA"].found == "13.0, in /usr/local/cuda"
    assert found["power mode"] == Check(subject="power mode", state=State.OK, found="MAXN")
    assert found["clocks"].state is State.OK
    assert found["ONNX Runtime"].state is State.MISSING


def test_a_desktop_with_a_gpu(machine: Callable[..., Path]) -> None:
    root = machine(DESKTOP)
    packages = having(
        numpy="2.2", pykdtree="1.4.3", threadpoolctl="3.5", cv2="4.11", onnxruntime="1.22"
    )
    found = look(root, packages, WITHOUT_GSTREAMER)
    assert "JetPack" not in found and "power mode" not in found
    assert found["driver"].found == "NVIDIA 550.54.14"
    assert found["CUDA"].state is State.NOTE
    assert found["OpenCV"].state is State.OK
    assert not [c for c in found.values() if c.state is State.MISSING]
    names = [c.found for c in check_cameras(root)]
    assert names == ["/dev/video0: HD Webcam", "/dev/video10: Loopback"]


def test_a_laptop_without_one(machine: Callable[..., Path]) -> None:
    packages = having(
        numpy="2.2", pykdtree="1.4.3", threadpoolctl="3.5", cv2="5.0", onnxruntime="1.31"
    )
    found = look(machine(LAPTOP), packages, WITHOUT_GSTREAMER)
    assert found["GPU"].found == "no NVIDIA driver: networks run on the CPU"
    assert found["camera"].state is State.NOTE
    assert not [c for c in found.values() if c.state is State.MISSING]


def test_packages_that_are_missing_are_named(machine: Callable[..., Path]) -> None:
    found = look(machine(LAPTOP), having(), None)
    for subject in ("numpy", "pykdtree", "threadpoolctl", "OpenCV", "ONNX Runtime"):
        assert found[subject].state is State.MISSING
        assert found[subject].cure.startswith("pip install")


def test_opencv_that_cannot_be_imported(machine: Callable[..., Path]) -> None:
    found = look(machine(LAPTOP), having(cv2="4.8"), None)["OpenCV"]
    assert found.state is State.MISSING and "importing it fails" in found.found


def test_jetpacks_opencv_beside_numpy_2(machine: Callable[..., Path]) -> None:
    found = look(machine(ORIN), having(cv2="", numpy="2.2.6"), None)["OpenCV"]
    assert "2.2.6" in found.found and found.cure == "pip install 'numpy<2'"
    older = look(machine(ORIN), having(cv2="", numpy="1.26.4"), None)["OpenCV"]
    assert "importing it fails" in older.found


def test_a_camera_that_may_not_be_read(
    machine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: "video10" in str(path))
    first, second = check_cameras(machine(DESKTOP))
    assert first.state is State.NOTE and "usermod -aG video $USER" in first.cure
    assert second.state is State.OK


@pytest.mark.parametrize("content", ["", "garbage", "# R (release)", "\xff\xfe"])
def test_ruins_are_no_reason_to_fail(content: str, machine: Callable[..., Path]) -> None:
    root = machine(dict.fromkeys({*ORIN, *THOR, *DESKTOP} - {"dev/video0", "dev/video10"}, content))
    found = look(root, having(), None)
    assert found["memory"].found == "unknown: /proc/meminfo cannot be read"
    assert "cannot be understood" in found["JetPack"].found


def test_an_old_jetpack(machine: Callable[..., Path]) -> None:
    files = {"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 3, BOARD: t186ref"}
    found = look(machine(files), having(), None)["JetPack"]
    assert found.state is State.NOTE and "flash JetPack 6 or later" in found.cure


def test_a_map_and_its_engines(demo16: Path, tmp_path: Path) -> None:
    plain = {c.subject: c for c in check_map(DEMO / "map")}["engines"]
    assert "no float16 network" in plain.found and "edge-reloc export onnx" in plain.cure
    checks = {c.subject: c for c in check_map(demo16)}
    assert checks["map"].state is State.OK
    assert "none yet of nets/" in checks["engines"].found
    assert "nets/cells.fp16.onnx" in checks["engines"].found
    assert checks["engines"].cure.startswith("edge-reloc export engine --map")
    (only,) = check_map(tmp_path / "absent")
    assert only.state is State.MISSING and "no such map bundle" in only.found


def test_packages_are_found_without_importing_them() -> None:
    assert find_package("numpy")
    assert find_package("no_such_package_anywhere") is None


def test_this_machine_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_reloc.doctor", "--map", str(DEMO / "map")],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].startswith("ok       system")
    assert "ONNX Runtime" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "edge_reloc", "doctor", "--json", "--map", "nowhere"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1
    last = json.loads(done.stdout)[-1]
    assert last["subject"] == "map" and last["state"] == "missing"


def test_cures_stand_under_their_lines(tmp_path: Path) -> None:
    text = to_text([*examine(Path("/")), *check_map(tmp_path / "absent")])
    assert "\n                        → copy the bundle to this machine again" in text
