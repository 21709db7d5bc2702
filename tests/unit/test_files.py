"""Files are written whole or not at all, and devices stay devices."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from edge_reloc import files
from edge_reloc.errors import DiskError
from edge_reloc.files import check_writable, read_small, write_atomic


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    (tmp_path / ".a.json.tmp").write_bytes(b"half of something much longer than what follows")
    write_atomic(tmp_path / "a.json", "whole")
    assert (tmp_path / "a.json").read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a.json", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=r"a\.json: cannot be written.*No space left.*unchanged"):
        write_atomic(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_writers_of_one_file_wait_for_each_other(tmp_path: Path) -> None:
    texts = [str(n) * 50_000 for n in range(8)]
    threads = [
        threading.Thread(target=write_atomic, args=(tmp_path / "a.txt", text)) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in texts
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(tmp_path / "pipe", "through it")
    assert os.read(reader, 100) == b"through it"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@pytest.mark.parametrize("name", ["n" * 300, "gone/a.txt", "."])
def test_a_name_that_cannot_be_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DiskError, match="cannot be written"):
        write_atomic(tmp_path / name, "text")
    assert os.listdir(tmp_path) == []


def test_a_pipe_is_read_where_somebody_writes_and_not_waited_for_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.01)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="nothing was written to this pipe"):
        read_small(path)
    monkeypatch.setattr(files, "PATIENCE_S", 60.0)
    writer = threading.Thread(target=path.write_bytes, args=(b"through it",))
    writer.start()
    assert read_small(path) == b"through it"
    writer.join()


@pytest.mark.parametrize("name", ["/dev/zero", "hole"])
def test_what_has_no_end_is_not_read_to_its_end(tmp_path: Path, name: str) -> None:
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 1 << 40)
    with pytest.raises(OSError, match="larger than the 1049 kB"):
        read_small(tmp_path / name)


@pytest.mark.parametrize("name", ["gone/a.json", "folder", "n" * 300, ""])
def test_what_cannot_be_written_is_told_before(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiskError, match="cannot be written"):
        check_writable(tmp_path / name)
    check_writable(tmp_path / "new")
    check_writable("/dev/null")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_pipe_in_the_hidden_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".a.json.tmp")
    with pytest.raises(DiskError, match="cannot be written"):
        write_atomic(tmp_path / "a.json", "text")
