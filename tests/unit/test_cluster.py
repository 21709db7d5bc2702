"""Units of work elsewhere: in order, through deaths, and never twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import unit_work

from edge_reloc.errors import ConfigError, MappingError
from edge_reloc_export.cluster.choose_executor import open_executor
from edge_reloc_export.cluster.executor import Executor
from edge_reloc_export.cluster.outcome import TRIES, RemoteTrace, WorkerError
from edge_reloc_export.cluster.units import Unit, finish


@pytest.fixture(scope="module", params=["local:2", "auto"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "auto":
        pytest.importorskip("ray", reason="ray is not installed: pip install '.[cluster]'")
    with open_executor(request.param) as opened:
        yield opened


def test_results_come_in_the_order_of_submission(executor: Executor) -> None:
    futures = [executor.submit(unit_work.square, number) for number in range(7)]
    assert list(executor.gather(futures)) == [n * n for n in range(7)]


def test_a_worker_that_dies_costs_nothing(executor: Executor, tmp_path: Path) -> None:
    assert executor.submit(unit_work.die_at_first, tmp_path / "mark").result() == "done"
    assert executor.submit(unit_work.square, 3).result() == 9


def test_a_unit_that_kills_its_workers_is_given_up_in_one_line(executor: Executor) -> None:
    with pytest.raises(WorkerError, match=rf"die\(\): {TRIES} workers that ran it ended") as caught:
        executor.submit(unit_work.die).result()
    assert "goes on from what is done" in str(caught.value)


def test_an_error_of_a_unit_is_its_result(executor: Executor, tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no photo"):
        executor.submit(unit_work.refuse, "a.jpg", tmp_path / "tries").result()
    assert (tmp_path / "tries").read_text() == "x"  # and it is not tried again


def test_our_own_mistake_keeps_its_traceback(executor: Executor) -> None:
    with pytest.raises(ValueError) as caught:
        executor.submit(unit_work.fail).result()
    assert isinstance(caught.value.__cause__, RemoteTrace)
    assert "in fail" in str(caught.value.__cause__)


def test_workers_work_on_one_thread(executor: Executor) -> None:
    assert executor.submit(unit_work.threads).result() == "1"


def test_what_is_there_is_not_made_again(executor: Executor, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(4)]
    units = [
        Unit(run=unit_work.write_square, arguments=(path, n), result=path)
        for n, path in enumerate(paths)
    ]
    finish(executor, units[:2], "squares", "square", progress=False)
    finish(executor, units, "squares", "square", progress=False)
    assert [path.read_text() for path in paths] == ["0", "1", "4", "9"]
    assert [path.with_suffix(".made").read_text() for path in paths] == ["x"] * 4


def test_errors_that_say_something_of_one_unit_alone(executor: Executor, tmp_path: Path) -> None:
    path = tmp_path / "2.txt"
    bad = Unit(run=unit_work.refuse, arguments=("a.jpg", tmp_path / "tries"))
    good = Unit(run=unit_work.write_square, arguments=(path, 2), result=path)
    told = finish(executor, [bad, good], "n", "n", progress=False, tolerate=MappingError)
    assert [str(error) for error in told] == ["a.jpg: no photo"] and path.read_text() == "4"
    with pytest.raises(MappingError):
        finish(executor, [bad, good], "n", "n", progress=False)


def _waited(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    return path.read_text()


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            if stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # in a container whose first process reaps nobody
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    with open_executor("local:1") as executor:
        future = executor.submit(unit_work.process_of, tmp_path / "mark")
        pid = int(_waited(tmp_path / "mark"))
    assert _ends(pid)
    with pytest.raises(EOFError):
        future.result()


@pytest.mark.skipif(sys.platform != "linux", reason="the death of a parent is told on Linux alone")
def test_workers_die_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import unit_work\n"
        "from pathlib import Path\n"
        "from edge_reloc_export.cluster.choose_executor import open_executor\n"
        f"open_executor('local:1').submit(unit_work.process_of, Path({str(tmp_path / 'mark')!r}))"
        ".result()\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    driver = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    pid = int(_waited(tmp_path / "mark"))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert _ends(pid)


@pytest.mark.parametrize(
    "address", ["remote", "local:0", "local:many", "ray://somewhere", "auto:3"]
)
def test_an_address_that_names_nobody(address: str) -> None:
    with pytest.raises(ConfigError, match="expected local, local:N, auto"):
        open_executor(address)


def test_a_cluster_that_does_not_answer() -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[cluster]'")
    with pytest.raises(WorkerError, match="no Ray cluster answers there"):
        open_executor("127.0.0.1:1")
