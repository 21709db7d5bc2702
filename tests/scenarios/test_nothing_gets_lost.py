"""Full disks, closed outputs, absurd numbers and kills: one line, and nothing is lost."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
from photo_files import write_video
from plane_world import PlaneWorld

from edge_reloc.running.demo import demo_folder

Program = Callable[..., CompletedProcess[str]]
KILLS = Path(__file__).parents[1] / "benchmarks/kills.py"

# Descriptor 1 is closed: the next file that is opened takes its number.
CLOSED = {"closed": ">&-", "all closed": "<&- >&- 2>&-"}


@pytest.fixture
def in_shell(corner: PlaneWorld, tmp_path: Path) -> Callable[[str, str], CompletedProcess[str]]:
    """Runs `edge_reloc run` of the corner in a shell, with its output redirected."""

    def call(options: str, redirected: str) -> CompletedProcess[str]:
        program = f"{sys.executable} -m edge_reloc run --map {corner.bundle}"
        return subprocess.run(
            ["bash", "-c", f"{program} --source {corner.frames} --frames 2 {options} {redirected}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )

    return call


@pytest.mark.parametrize("redirected", CLOSED.values(), ids=CLOSED)
def test_a_closed_output_is_no_part_of_the_poses(
    in_shell: Callable[..., CompletedProcess[str]], tmp_path: Path, redirected: str
) -> None:
    done = in_shell("--output poses.jsonl", redirected)
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "poses.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["OK", "OK"]


def test_a_full_standard_output_ends_no_work(
    in_shell: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = in_shell("--output poses.jsonl --picture run.png", ">/dev/full")
    assert done.returncode == 1
    expected = "error: standard output: cannot be written (No space left on device)"
    assert done.stderr.splitlines() == [expected]
    assert len((tmp_path / "poses.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_a_full_standard_error_ends_no_work(
    in_shell: Callable[..., CompletedProcess[str]],
) -> None:
    done = in_shell("", "2>/dev/full")
    assert done.returncode == 0
    assert "localised 2" in done.stdout


def test_a_limit_of_file_sizes_is_one_line(
    in_shell: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = in_shell("--picture run.png", "")
    assert done.returncode == 0
    before = (tmp_path / "run.png").read_bytes()
    limited = f"ulimit -f 8; {sys.executable} -m edge_reloc run --demo --frames 1"
    done = subprocess.run(
        ["bash", "-c", f"{limited} --picture run.png"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: run.png: cannot be written (File too large)")
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == ["run.png"]
    assert (tmp_path / "run.png").read_bytes() == before


@pytest.mark.parametrize("option", ["--output", "--settings", "--map", "--picture"])
def test_a_path_that_is_too_long_is_one_line(
    edge_reloc: Program, corner: PlaneWorld, option: str
) -> None:
    suffix = {"--output": ".jsonl", "--picture": ".png"}.get(option, "")
    options = ["--map", corner.bundle, "--source", corner.frames, option, "n" * 300 + suffix]
    done = edge_reloc("run", *options[2 * (option == "--map") :])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "File name too long" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["run", "--demo", "--frames", "1e9"], "invalid whole_number value: '1e9'"),
        (["run", "--demo", "--frames", "9" * 5000], "expected 1 to 2147483648"),
        (["run", "--demo", "--frames", "-1"], "found -1, expected 1 to"),
        (["run", "--demo", "--budget", "9" * 400 + "G"], "more than any machine has"),
        (["map", "--images", ".", "--output", "m", "--max-error", "nan"], "found nan, expected"),
        (["map", "--images", ".", "--output", "m", "--max-error", "inf"], "found inf, expected"),
        (["map", "--images", ".", "--output", "m", "--keypoints", "0"], "found 0, expected 16"),
    ],
)
def test_absurd_options_are_misuse(edge_reloc: Program, options: list[str], words: str) -> None:
    done = edge_reloc(*options)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--threshold-px", "inf", "threshold_px: found inf, expected above 0"),
        ("--threshold-px", "nan", "threshold_px: found nan, expected above 0"),
        ("--max-rotation-std-deg", "1e400", "found inf"),
        ("--radius", "inf", "radius: found inf"),
    ],
)
def test_absurd_settings_are_one_line(
    edge_reloc: Program, option: str, value: str, words: str
) -> None:
    done = edge_reloc("run", "--demo", "--frames", "1", option, value)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gps", "gps.csv"], "gps.csv:2: lat is 'north', expected a number"),
        (["--gps", "gone.csv"], "gone.csv: cannot read these positions (No such file"),
        (["--positions", "far.csv"], "far.csv:2: x is '1e300', expected a number up to 1e+09"),
        (["--positions", "gps.csv"], "gps.csv:1: no column"),
        (["--poses", "gone"], "gone"),
        (["--camera", "gone.json"], "gone.json: no such camera file"),
        (["--output", "gps.csv/map"], "gps.csv/map: cannot be written ("),
        (["--output", "notes"], "notes: exists and is not a map bundle"),
        (["--output", "new", "--work", "new/work"], "new/work: lies in the map's own folder"),
        (["--output", "a/b/new", "--gps", "gone.csv"], "gone.csv: cannot read these positions"),
    ],
)
def test_map_refuses_its_inputs_before_the_long_work(
    edge_reloc: Program, tmp_path: Path, options: list[str], words: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "gps.csv").write_text("name,lat,lon\na.jpg,north,13\n")
    (tmp_path / "far.csv").write_text("name,x,y,z\na.jpg,1e300,0,0\n")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("precious")
    before = sorted(os.listdir(tmp_path))
    photos = demo_folder() / "frames"
    done = edge_reloc("map", "--images", photos, "--output", "map", *options)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert words in done.stderr
    assert sorted(os.listdir(tmp_path)) == before  # no work folder: nothing was begun


def test_kills_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("kills", KILLS)
    assert spec is not None and spec.loader is not None
    kills = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = kills  # NamedTuple looks its module up
    spec.loader.exec_module(kills)
    code = kills.main(["--kills", "12", "--seed", "3", "--programs", "map,alone,combine,run"])
    assert code == 0, capsys.readouterr().out


def test_what_a_terminal_cannot_spell_is_written_out(
    in_shell: Callable[..., CompletedProcess[str]], edge_reloc: Program, tmp_path: Path
) -> None:
    demo = demo_folder()
    map_dir = Path(shutil.copytree(demo / "map", tmp_path / "map"))
    manifest = json.loads((map_dir / "manifest.json").read_text())
    manifest["name"], manifest["statistics"] = "a\x85\x1b[31m", {"grade": {"verdict": "\n"}}
    (map_dir / "manifest.json").write_text(json.dumps(manifest))
    for done in (
        edge_reloc("inspect", map_dir),
        edge_reloc("run", "--map", map_dir, "--source", demo / "frames", "--frames", "1"),
    ):
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("map        a\\x85\\x1b[31m, ")
    ascii_only = f"PYTHONIOENCODING=ascii {sys.executable} -m edge_reloc run --demo --frames 1"
    done = subprocess.run(["bash", "-c", ascii_only], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xb0" in done.stdout  # a degree


def test_a_name_that_is_not_utf8_is_only_a_name(edge_reloc: Program, tmp_path: Path) -> None:
    demo = demo_folder()
    (tmp_path / "photos").mkdir()
    odd = os.fsdecode(b"\xff")
    shutil.copy(demo / "frames/frame_000.jpg", tmp_path / f"photos/{odd}.jpg")
    image = cv2.imread(str(demo / "frames/frame_000.jpg"))
    write_video(tmp_path / "video.avi", [image], 10.0, "MJPG")
    (tmp_path / "video.avi").rename(tmp_path / f"{odd}.avi")
    for source in ("photos", f"{odd}.avi"):
        done = edge_reloc(
            *("run", "--map", demo / "map", "--source", source, "--picture", f"{odd}.png"),
            *("--output", f"{odd}.jsonl", "--no-states"),
        )
        assert done.returncode == 0, done.stderr
        assert "localised 1" in done.stdout


@pytest.mark.parametrize("program", ["inspect map", "run --source photos", "evaluate --map m"])
def test_a_folder_that_was_removed_is_one_line(tmp_path: Path, program: str) -> None:
    more = "--data d" if program.startswith("evaluate") else ""
    call = f"mkdir here; cd here; rmdir ../here; {sys.executable} -m edge_reloc {program} {more}"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: the current folder was removed; call this from another one\n"


@pytest.mark.parametrize(
    "options",
    [
        ["run", "--demo", "--picture", "gone/a.png"],
        ["profile", "--demo", "--save", "gone/a.json"],
        ["profile", "--demo", "--html", "gone/a.html"],
        ["evaluate", "--map", "m", "--data", "d", "--output", "gone/a.json"],
        ["calibrate", "--images", "photos", "--output", "gone/a.json"],
    ],
)
def test_an_output_is_refused_before_the_work(edge_reloc: Program, options: list[str]) -> None:
    done = edge_reloc(*options)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {options[-1]}: cannot be written (No such file")
    assert len(done.stderr.splitlines()) == 1


def test_a_plot_of_no_known_kind_is_refused_before_the_work(edge_reloc: Program) -> None:
    pytest.importorskip("matplotlib")
    done = edge_reloc("evaluate", "--map", "m", "--data", "d", "--plot", "a.abc")
    assert done.returncode == 1
    assert done.stderr.startswith("error: a.abc: expected a picture named .png")


def hears_all() -> None:
    """A new process ignores none of the signals that end one."""
    for kind in (signal.SIGHUP, signal.SIGINT):
        signal.signal(kind, signal.SIG_DFL)


def test_a_terminal_that_goes_away_ends_a_run_well(corner: PlaneWorld, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "edge_reloc", "profile", "--map", str(corner.bundle)]
    call += ["--source", str(corner.frames), "--seconds", "600", "--samples", "samples.jsonl"]
    for unless in ([], ["nohup"]):
        with subprocess.Popen(
            [*unless, *call],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            # Not of these tests' own, which may run in the background or under nohup.
            preexec_fn=hears_all,
        ) as running:
            samples = tmp_path / "samples.jsonl"
            while not samples.exists() or not samples.stat().st_size:
                assert running.poll() is None
                time.sleep(0.05)
            running.send_signal(signal.SIGHUP)
            if unless:
                with pytest.raises(subprocess.TimeoutExpired):
                    running.wait(0.5)
                running.send_signal(signal.SIGINT)
            told, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        assert "frames" in told
        samples.unlink()


def test_a_work_folder_has_one_program_at_work(edge_reloc: Program, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from edge_reloc_export.work_folder import at_work

    call = ["map", "--images", demo_folder() / "frames", "--output", "map"]
    with at_work(tmp_path / "map.work"):
        done = edge_reloc(*call)
    assert done.returncode == 1
    assert done.stderr.startswith("error: map.work: another program is at work there")
    assert len(done.stderr.splitlines()) == 1
    with at_work(tmp_path / "map.work", alone=False), at_work(tmp_path / "map.work", alone=False):
        pass


CUT_SHORT = """
import os, sys, threading
import numpy as np
from pathlib import Path
from edge_reloc.bundle.array_file import open_array
from edge_reloc.command_line.program import program

@program
def main(argv=None):
    mapped = open_array(Path("a.npy")).array
    os.truncate("a.npy", 4096)
    looks = {"a look": mapped.sum, "a copy": mapped.copy, "a product": lambda: mapped @ mapped.T}
    if sys.argv[2] == "here":
        looks[sys.argv[1]]()
    beside = threading.Thread(target=looks[sys.argv[1]])
    beside.start()
    beside.join()

main()
"""


@pytest.mark.parametrize("where", ["here", "beside"])
@pytest.mark.parametrize("look", ["a look", "a copy", "a product"])
def test_a_mapped_file_that_is_cut_short_is_one_line(tmp_path: Path, look: str, where: str) -> None:
    np.save(tmp_path / "a.npy", np.ones((600, 4000), np.float32))
    done = subprocess.run(
        [sys.executable, "-c", CUT_SHORT, look, where], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: a file that was in use has been cut short")
    assert len(done.stderr.splitlines()) == 1
