"""Which photos: folders and lists are understood alike by mapping and running."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import SourceError
from edge_reloc.sources import open_source
from edge_reloc.sources.listing import list_folder, list_glob, names_in_list
from edge_reloc_export.photos.listing import kinds_not_read, list_photos

NAMES = ["a b.jpg", "Käse ß.jpg", "-dash.jpg", "inner/x#1.jpg", "100 %.jpg"]


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        write(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("slash", ["/", "\\", "/./"])
def test_both_halves_read_a_list_alike(
    folder: Path, tmp_path: Path, encoding: str, end: str, slash: str
) -> None:
    lines = ["# photos", "", *NAMES, "  ", "# end", ""]
    text = end.join(lines).replace("/", slash)
    listing = tmp_path / "list.txt"
    listing.write_bytes(text.encode(encoding))
    assert names_in_list(listing, folder) == NAMES
    assert list_photos(folder, listing) == NAMES
    source = open_source(str(folder), names=listing)
    assert [frame.name for frame in source] == NAMES and source.skipped == []
    beside = folder / "list.txt"
    beside.write_bytes(text.encode(encoding))
    assert [frame.name for frame in open_source(str(beside))] == NAMES


@pytest.mark.parametrize(("on_disk", "in_list"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_found_however_they_are_composed(
    tmp_path: Path, on_disk: str, in_list: str
) -> None:
    name = unicodedata.normalize(on_disk, "Märzgrün.jpg")
    write(tmp_path / name)
    (tmp_path / "list.txt").write_text(unicodedata.normalize(in_list, name), encoding="utf-8")
    assert list_photos(tmp_path, tmp_path / "list.txt") == [name]


def test_a_backslash_that_belongs_to_a_name_stays(tmp_path: Path) -> None:
    write(tmp_path / "a\\b.jpg")
    (tmp_path / "list.txt").write_text("a\\b.jpg\n")
    assert names_in_list(tmp_path / "list.txt", tmp_path) == ["a\\b.jpg"]


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\xff\xfea", "not a text file"), (b"K\xe4se.jpg", "save it as UTF-8"), (b"#\n", "names no")],
)
def test_what_is_no_list_is_refused_alike(
    folder: Path, tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    for read in (
        lambda: list_photos(folder, tmp_path / "list.txt"),
        lambda: open_source(str(folder), names=tmp_path / "list.txt"),
    ):
        with pytest.raises(SourceError, match=words):
            read()


def test_hidden_files_are_left_alone_and_order_is_natural(tmp_path: Path) -> None:
    for name in ("p10.jpg", "p9.JPG", "._p9.JPG", ".hidden.jpg", ".trash/x.jpg", "b/p2.jpg"):
        write(tmp_path / name)
    assert list_photos(tmp_path) == ["b/p2.jpg", "p9.JPG", "p10.jpg"]
    assert [frame.name for frame in open_source(str(tmp_path))] == ["p9.JPG", "p10.jpg"]


def test_what_is_not_read_is_counted_and_named_by_both_halves(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = ["IMG_0.HEIC", "IMG_1.heic", "IMG_2.heif", "IMG_10.HEIC", "x.dng", "y.gif", "z.MP4"]
    for name in [*others, "._IMG_0.HEIC", "notes.txt"]:
        (folder / name).write_bytes(b"something")
    lines = kinds_not_read(folder)
    assert [line.split(",")[0] for line in lines] == [
        "4 photos are HEIC",
        "1 photo is camera raw",
        "1 picture is GIF",
        "1 file is video",
    ]
    assert "convert them to JPEG; found IMG_0.HEIC, IMG_1.heic, IMG_2.heif ..." in lines[0]
    source = open_source(str(folder))
    assert len(list(source)) == 4
    assert [line.split(":")[0] for line in source.skipped] == list_folder(folder).others
    assert sorted(list_folder(folder).others) == sorted(others)
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [f"{folder}: {line}" for line in lines]
    assert len(list(open_source(f"{folder}/*.jpg"))) == 4  # nothing else was asked for
    assert open_source(f"{folder}/*.jpg").skipped == []


def test_a_folder_of_nothing_but_others_says_so(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"IMG_{number}.HEIC").write_bytes(b"something")
    for read in (list_photos, lambda folder: open_source(str(folder))):
        with pytest.raises(SourceError, match=r"no photos in this folder .*; 2 photos are HEIC"):
            read(tmp_path)


def test_links_in_a_circle_are_not_followed(folder: Path) -> None:
    (folder / "inner/again").symlink_to("..")
    write(folder / ".hidden/h.jpg")
    for pattern in ("**/*.jpg", "**/**", "**"):
        listing = list_glob(f"{folder}/{pattern}").listing
        assert sorted(listing.photos) == sorted(NAMES), pattern
    assert len(list_glob(f"{folder}/*/*.jpg").listing.photos) == 1


def test_folders_that_cannot_be_read_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scandir, closed = os.scandir, folder / "inner"

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert len(list_folder(folder, deep=True).photos) == len(NAMES) - 1
    assert caplog.messages == [f"{closed}: cannot be read (Permission denied), left out"]
    with pytest.raises(SourceError, match=r"inner: cannot be read \(Permission denied\)"):
        list_folder(closed)
