"""One reader of photos: the sensor's rows, whole files only, the same in both halves."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_files import ORIENTATIONS, TURNS, write_photo

from edge_reloc.errors import SourceError
from edge_reloc.features import FeatureSpec
from edge_reloc.geometry.camera import Camera
from edge_reloc.sources import open_source
from edge_reloc.sources.frame_maker import frame_of
from edge_reloc.sources.photo import load_photo, read_photo
from edge_reloc.sources.photo_file import for_decoder, scans_of_jpeg, upright_turns
from edge_reloc.sources.photo_size import size_told
from edge_reloc_export.photos.features import FeatureStore, UnreadablePhotoError
from edge_reloc_export.photos.listing import read_facts

WIDTH, HEIGHT = 64, 48
SPEC = FeatureSpec(kind="sift", dim=128, keypoints=200)
JPEG_GREY = 4.0  # mean difference of grey levels that compression may leave
LOSSLESS_GREY = 0.6  # the rounding of colours to grey


def textured(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), np.uint8)


def same(found: np.ndarray, expected: np.ndarray, grey: float = JPEG_GREY) -> bool:
    different = np.abs(found.astype(float) - expected)
    return found.shape == expected.shape and bool(different.mean() < grey)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_is_told_and_never_applied(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    from PIL import Image, ImageOps

    image = textured(1)
    path = tmp_path / f"photo{suffix}"
    write_photo(path, image, orientation)
    for grey in (False, True):
        photo = load_photo(path, grey)
        assert same(photo.image, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if grey else image)
        assert photo.upright_turns == TURNS[orientation]
    assert np.array_equal(read_photo(path, grey=False), load_photo(path, grey=False).image)
    # What a viewer shows: the same, or for the mirrored ones its mirror image.
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))[:, :, ::-1]
    turned = np.rot90(image, TURNS[orientation])
    assert same(shown, turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned)
    # Both halves say so.
    (frame,) = open_source(str(path))
    assert (frame.upright_turns, frame.quarter_turns) == (TURNS[orientation], None)
    fact = read_facts(tmp_path, [path.name])[path.name]
    assert (fact.width, fact.height, fact.quarter_turns) == (WIDTH, HEIGHT, TURNS[orientation])
    store = FeatureStore(tmp_path / "work", SPEC, images=tmp_path)
    features = store.get(path.name)
    assert (features.width, features.height) == (WIDTH, HEIGHT)


def test_a_photo_named_to_the_localiser_says_its_turns(tmp_path: Path) -> None:
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=31.5, cy=23.5)
    write_photo(tmp_path / "a.jpg", textured(1), 8)
    assert frame_of(tmp_path / "a.jpg", camera).upright_turns == 1
    assert frame_of(textured(1), camera).upright_turns == 0


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_damaged_exif_turns_nothing_and_raises_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    write_photo(path, textured(1, 24, 24), 6)
    whole = path.read_bytes()
    assert upright_turns(whole) == 3
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole[: rng.integers(0, len(whole))])
        for at in rng.integers(0, max(1, len(data)), 4):
            data[at : at + 1] = bytes([rng.integers(0, 256)])
        assert upright_turns(bytes(data)) in range(4)
    write_photo(path, textured(1), 77)
    assert load_photo(path).upright_turns == 0


def test_depths_and_channels_become_eight_bit_colour_or_grey(tmp_path: Path) -> None:
    from PIL import Image

    image = textured(2)
    deep, alpha, cmyk = tmp_path / "deep.png", tmp_path / "alpha.png", tmp_path / "cmyk.jpg"
    cv2.imwrite(str(deep), image.astype(np.uint16) * 257)
    cv2.imwrite(str(alpha), np.dstack([image, np.full((HEIGHT, WIDTH), 9, np.uint8)]))
    Image.fromarray(image[:, :, ::-1]).convert("CMYK").save(cmyk)
    for path in (deep, alpha, cmyk):
        assert np.array_equal(read_photo(path, grey=False), cv2.imread(str(path)))
        grey = read_photo(path)
        assert grey.shape == (HEIGHT, WIDTH) and grey.dtype == np.uint8
    write_photo(tmp_path / "grey.png", image[:, :, 0])
    colour = read_photo(tmp_path / "grey.png", grey=False)
    assert np.array_equal(colour, np.dstack([image[:, :, 0]] * 3))


@pytest.mark.parametrize("share", [0.3, 0.45, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm"])
def test_a_cut_off_photo_is_refused_alike_by_both_halves(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"cut{suffix}"
    cv2.imwrite(str(path), textured(3, 320, 240))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SourceError) as running:
        read_photo(path)
    with pytest.raises(UnreadablePhotoError) as mapping:
        FeatureStore(tmp_path / "work", SPEC, images=tmp_path).get(path.name)
    assert str(running.value) == str(mapping.value)
    if suffix == ".jpg":
        assert "the JPEG is cut off after" in str(running.value)


def test_a_progressive_jpeg_is_whole_only_with_all_its_scans(tmp_path: Path) -> None:
    path = tmp_path / "progressive.jpg"
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    cv2.imwrite(str(path), textured(3, 320, 240), options)
    assert read_photo(path).shape == (240, 320)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="cut off"):
        read_photo(path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.HEIC", b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, which is not read here: convert it"),
        ("a.jpg", b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, which is not read here"),
        ("a.avif", b"\0\0\0\x18ftypavif" + bytes(40), "AVIF, which is not read here"),
        ("a.NEF", b"MM\0*" + bytes(40), "camera raw, which is not read here: develop it"),
        ("a.gif", b"GIF89a" + bytes(40), "GIF, which is not read here"),
        ("a.jpg", b"", "not a readable image"),
    ],
)
def test_kinds_that_are_not_read_are_named_with_the_cure(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=words):
        read_photo(tmp_path / name)
    with pytest.raises(UnreadablePhotoError, match=words):
        FeatureStore(tmp_path / "work", SPEC, images=tmp_path).get(name)
    if not name.endswith("gif"):
        with pytest.raises(SourceError, match=words):
            open_source(str(tmp_path / name))


def test_a_jpeg_by_another_name_is_a_jpeg(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), textured(4))
    (tmp_path / "a.jpg").rename(tmp_path / "a.heic")
    assert read_photo(tmp_path / "a.heic").shape == (HEIGHT, WIDTH)


ABSURD = {
    "a.pgm": b"P5 # of nothing\n99999999 99999999 255\n0123456789",
    "a.png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 24000, 18000) + bytes(9),
    "a.bmp": b"BM" + struct.pack("<IHHIIii", 100, 0, 0, 54, 40, 2**31 - 1, -(2**31)),
    "a.jpg": b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff" + bytes(60) + b"\xff\xd9",
    "a.webp": b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6,
    "a.tif": struct.pack("<4sIHHHIIHHII", b"II*\0", 8, 2, 256, 4, 1, 1 << 30, 257, 4, 1, 1 << 30),
}


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_size_is_refused_by_the_header(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(ABSURD[name])
    monkeypatch.setattr(cv2, "imdecode", None)  # nobody asks for a pixel
    with pytest.raises(SourceError, match="by its header, expected at most 268 million"):
        read_photo(tmp_path / name)
    with pytest.raises(UnreadablePhotoError, match="by its header"):
        FeatureStore(tmp_path / "work", SPEC, images=tmp_path).get(name)
    assert read_facts(tmp_path, [name]) == {}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm", ".pgm"])
def test_the_header_tells_the_size_of_what_is_decoded(tmp_path: Path, suffix: str) -> None:
    image = textured(6, 37, 51)
    data = cv2.imencode(suffix, image[:, :, 0] if suffix == ".pgm" else image)[1].tobytes()
    assert size_told(data) == (37, 51)
    (tmp_path / f"a{suffix}").write_bytes(data)
    assert read_photo(tmp_path / f"a{suffix}").shape == (51, 37)
    for cut in range(0, 60):  # whatever is missing, nothing is raised
        assert size_told(data[:cut]) in (None, (37, 51))


def test_photos_larger_than_the_camera_s_are_skipped_undecoded(tmp_path: Path) -> None:
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=31.5, cy=23.5)
    for name, width in (("a", 64), ("b", 32), ("c", 128), ("d", 48)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), textured(1, width, width * 3 // 4))
    source = open_source(str(tmp_path), camera)
    assert [frame.name for frame in source] == ["a.png", "b.png", "d.png"]
    assert len(source.skipped) == 1
    assert source.skipped[0].startswith("c.png: 128x96 pixels by its header, too many")
    # The first photo tells the size, up to eight times the calibration's a side.
    assert open_source(str(tmp_path / "c.png"), camera).width == 128
    cv2.imwrite(str(tmp_path / "e.png"), textured(1, 576, 432))
    with pytest.raises(SourceError, match="576x432 pixels by its header, too many"):
        open_source(str(tmp_path / "e.png"), camera)


def test_links_pipes_and_odd_names_are_skipped_and_listed(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", textured(1))
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("c.png")
    (tmp_path / "d.png").symlink_to("/dev/zero")
    (tmp_path / "e\nskipped: all\x1b[31m.png").write_bytes(b"x")
    source = open_source(str(tmp_path))
    assert [frame.name for frame in source] == ["a.png"]
    assert source.skipped == [
        "b.png: not a file",
        f"c.png: {os.strerror(errno.ELOOP)}",
        "d.png: not a file",
        "e\\nskipped: all\\x1b[31m.png: not a readable image (1 bytes)",
    ]
    (tmp_path / "names.txt").write_bytes(b"a.png\nx\0y.png\n")
    source = open_source(str(tmp_path), names=tmp_path / "names.txt")
    assert len(list(source)) == 1
    assert source.skipped == ["x\\x00y.png: embedded null byte"]
    with pytest.raises(UnreadablePhotoError, match="not a file"):
        FeatureStore(tmp_path / "work", SPEC, images=tmp_path).get("d.png")


def test_a_file_larger_than_its_picture_can_be_is_not_read(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", textured(1))
    os.truncate(tmp_path / "a.png", 1 << 30)  # a hole: it takes no room
    with pytest.raises(SourceError, match="1074 MB, too many for an image of 64x48"):
        read_photo(tmp_path / "a.png")


def test_a_tiny_photo_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), textured(5, 40, 15))
    with pytest.raises(SourceError, match="40x15 pixels, expected at least 16"):
        read_photo(tmp_path / "a.png")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_packed_texts_of_a_png_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_photo(path, textured(7), 6)
    data = path.read_bytes()
    packed = zlib.compress(bytes(1 << 20))
    chunks = png_chunk(b"zTXt", b"a\0\0" + packed) + png_chunk(b"iCCP", b"a\0\0" + packed)
    after_header = 8 + 25
    path.write_bytes(data[:after_header] + chunks + data[after_header:])
    assert for_decoder(path.read_bytes()) == data
    assert same(read_photo(path, grey=False), textured(7), LOSSLESS_GREY)
    assert load_photo(path).upright_turns == 3


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    data = cv2.imencode(".jpg", textured(7), options)[1].tobytes()
    assert 5 < scans_of_jpeg(data) < 20
    empty_scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x02\0\0"
    (tmp_path / "a.jpg").write_bytes(data[:-2] + empty_scan * 501 + b"\xff\xd9")
    with pytest.raises(SourceError, match="a JPEG of 511 scans, expected"):
        read_photo(tmp_path / "a.jpg")
    # What stands behind the picture is not of it, such as a phone's second one.
    (tmp_path / "a.jpg").write_bytes(data + empty_scan * 501 + b"\xff\xd9")
    assert read_photo(tmp_path / "a.jpg").shape == (HEIGHT, WIDTH)


def tiff_of(tags: list[tuple[int, int]], pixels: bytes) -> bytes:
    """A TIFF of whole numbers; -1 stands for where the pixels begin."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if value < 0 else value) for tag, value in tags
    )
    return struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4) + pixels


def test_blocks_of_a_tiff_take_no_more_memory_than_its_picture(tmp_path: Path) -> None:
    grey = [(256, WIDTH), (257, HEIGHT), (258, 8), (259, 1), (262, 1)]
    image = textured(7)[:, :, 0]
    strip = tiff_of([*grey, (273, -1), (278, 1 << 24), (279, image.size)], image.tobytes())
    (tmp_path / "strip.tif").write_bytes(strip)
    assert np.array_equal(read_photo(tmp_path / "strip.tif"), image)
    tile = tiff_of([*grey, (322, 16000), (323, 16000), (324, -1), (325, 100)], bytes(100))
    (tmp_path / "tile.tif").write_bytes(tile)
    with pytest.raises(SourceError, match="tiles of 256 million pixels for an image of 64x48"):
        read_photo(tmp_path / "tile.tif")


def test_facts_of_a_png_take_no_look_at_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import PngImagePlugin

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    write_photo(tmp_path / "a.png", textured(7), 6)
    cv2.imwrite(str(tmp_path / "b.png"), textured(7))
    facts = read_facts(tmp_path, ["a.png", "b.png"])
    assert [facts[name].quarter_turns for name in ("a.png", "b.png")] == [3, 0]


def test_what_only_pillow_knows_has_no_facts(tmp_path: Path) -> None:
    sun_raster = struct.pack(">8I", 0x59A66A95, 60000, 60000, 24, 0, 1, 0, 0) + bytes(100)
    (tmp_path / "a.png").write_bytes(sun_raster)
    assert read_facts(tmp_path, ["a.png"]) == {}
