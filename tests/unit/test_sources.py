"""Sources: photos, videos and live streams give the frames they should."""

from __future__ import annotations

import importlib.util
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_files import begin_at, flag_rotation, hold_last_frame, write_video

from edge_reloc.command_line.arguments import camera_options
from edge_reloc.errors import ConfigError, MissingPackageError, SourceError
from edge_reloc.geometry.camera import Camera
from edge_reloc.run import parse
from edge_reloc.sources import open_source, read_photo, with_opencv
from edge_reloc.sources.listing import natural_key
from edge_reloc.sources.options import CameraOptions
from edge_reloc.sources.schemes import csi_pipeline
from edge_reloc.sources.v4l2 import V4l2Capture
from edge_reloc.sources.video_file import promised_bytes
from edge_reloc.sources.video_reader import Picture

WIDTH, HEIGHT = 64, 48
VIDEO_FRAMES, VIDEO_RATE_HZ = 30, 20.0
# MJPEG moves the mean grey of a flat picture by less than this
GREY_TOLERANCE = 3
STEP_GREY = 7  # between the flat frames of the test video
MS_NS = 1_000_000

CAMERA = Camera(model="pinhole", width=128, height=96, fx=100, fy=100, cx=63.5, cy=47.5)
SQUARE = Camera(model="pinhole", width=96, height=96, fx=100, fy=100, cx=47.5, cy=47.5)


def textured(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """frame1, 2 and 10 good; frame3 cut off; an empty file; a text file."""
    path = tmp_path / "photos"
    path.mkdir()
    for number in (10, 2, 1, 3):
        cv2.imwrite(str(path / f"frame{number}.jpg"), textured(number))
    cut = path / "frame3.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (path / "frame4.png").write_bytes(b"")
    (path / "notes.txt").write_text("not a photo")
    return path


@pytest.fixture(params=["av", "opencv"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos are read by PyAV or, as where that is not installed, by OpenCV."""
    if request.param == "av":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr("edge_reloc.sources.video_reader.have_av", lambda: False)


@pytest.fixture(scope="module", params=[("avi", "MJPG"), ("mp4", "mp4v")], ids=["avi", "mp4"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat frames of rising grey, so that each frame tells its own number."""
    suffix, code = request.param
    path = tmp_path_factory.mktemp("video") / f"flat.{suffix}"
    fourcc = cv2.VideoWriter_fourcc(*code)
    writer = cv2.VideoWriter(str(path), fourcc, VIDEO_RATE_HZ, (WIDTH, HEIGHT))
    for number in range(VIDEO_FRAMES):
        writer.write(np.full((HEIGHT, WIDTH, 3), number * STEP_GREY, np.uint8))
    writer.release()
    return path


def number_of(image: np.ndarray) -> int:
    grey = float(image.mean())
    number = round(grey / STEP_GREY)
    assert abs(grey - number * STEP_GREY) < GREY_TOLERANCE
    return number


def test_folder_in_natural_order_skips_and_lists_what_cannot_be_read(folder: Path) -> None:
    source = open_source(str(folder), CAMERA, rate_hz=10.0)
    frames = list(source)
    assert [f.name for f in frames] == ["frame1.jpg", "frame2.jpg", "frame10.jpg"]
    assert [f.index for f in frames] == [0, 1, 4]
    assert [f.t_ns for f in frames] == [0, 100 * MS_NS, 400 * MS_NS]
    assert len(source.skipped) == 2
    assert source.skipped[0].startswith("frame3.jpg: the JPEG is cut off")
    assert source.skipped[1].startswith("frame4.png: not a readable image")
    assert not source.live and source.dropped == 0
    assert (source.width, source.height) == (WIDTH, HEIGHT)


def test_frames_are_grey_or_colour_as_asked(folder: Path) -> None:
    grey = next(iter(open_source(str(folder), CAMERA)))
    colour = next(iter(open_source(str(folder), CAMERA, grey=False)))
    assert grey.image.shape == (HEIGHT, WIDTH) and grey.image.dtype == np.uint8
    assert colour.image.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(colour.image, cv2.imread(str(folder / "frame1.jpg")))


def test_a_photo_of_another_aspect_among_good_ones_is_skipped(folder: Path) -> None:
    cv2.imwrite(str(folder / "frame5.jpg"), textured(5, 48, 64))
    source = open_source(str(folder), CAMERA)
    assert "frame5.jpg" not in [f.name for f in source]
    assert any(line.startswith("frame5.jpg: camera calibration is for") for line in source.skipped)


def test_glob_names_are_relative_to_the_folder_before_the_wildcard(folder: Path) -> None:
    (folder / "deeper").mkdir()
    cv2.imwrite(str(folder / "deeper" / "frame7.jpg"), textured(7))
    flat = [f.name for f in open_source(f"{folder}/frame1*.jpg", CAMERA)]
    assert flat == ["frame1.jpg", "frame10.jpg"]
    deep = [f.name for f in open_source(f"{folder}/**/*.jpg", CAMERA)]
    assert deep == ["deeper/frame7.jpg", "frame1.jpg", "frame2.jpg", "frame10.jpg"]


def test_list_keeps_its_own_order_and_names_what_is_missing(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "queries.txt"
    listing.write_text("# queries\nframe10.jpg\n\nlost.jpg\nframe2.jpg\n")
    source = open_source(str(folder), CAMERA, names=listing)
    assert [f.name for f in source] == ["frame10.jpg", "frame2.jpg"]
    assert source.skipped == ["lost.jpg: No such file or directory"]
    beside = folder / "beside.txt"
    beside.write_text("frame1.jpg\n")
    assert [f.name for f in open_source(str(beside), CAMERA)] == ["frame1.jpg"]


def test_one_photo_is_a_source(folder: Path) -> None:
    assert [f.name for f in open_source(str(folder / "frame2.jpg"), CAMERA)] == ["frame2.jpg"]


def test_natural_order() -> None:
    names = ["b", "a10", "a9", "A1", "10", "9", "a9b2"]
    assert sorted(names, key=natural_key) == ["9", "10", "A1", "a9", "a9b2", "a10", "b"]


def test_a_thumbnail_does_not_hide_a_cut_off_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "thumbnail.jpg"
    cv2.imwrite(str(path), textured(0))
    plain = path.read_bytes()
    cv2.imwrite(str(path), textured(1, 16, 16))
    body = b"Exif\0\0" + path.read_bytes()
    whole = plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:]
    path.write_bytes(whole)
    assert np.array_equal(read_photo(path), cv2.imdecode(np.frombuffer(plain, np.uint8), 0))
    path.write_bytes(whole[:-100])
    with pytest.raises(SourceError, match="cut off"):
        read_photo(path)


def test_real_photos_are_all_whole(data_dir: Path) -> None:
    for scene in ("kitchen", "caliterra", "herz_jesus", "fox", "lund", "photos"):
        source = open_source(str(data_dir / scene / "images"))
        names = list(source._names)[::20]
        for name in names:
            read_photo(data_dir / scene / "images" / name)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("empty", "no photos in this folder"),
        ("broken", "none of 2 photos can be read"),
        ("nowhere", "no such file or folder"),
        ("empty/*.jpg", "no photo matches"),
        ("empty.txt", "names no photo"),
        ("bad.mp4", "not a video that can be played"),
        ("camera:77", "/dev/video77 does not exist"),
        ("77", "/dev/video77 does not exist"),
        ("/dev/video77", "^/dev/video77 does not exist"),
        ("v4l2:///dev/video77", "^/dev/video77 does not exist"),
        ("rtsp://127.0.0.1:1/x", "no video stream answered"),
        ("rtsp://me:secret@127.0.0.1:1/x", "^rtsp://127.0.0.1:1/x: no video"),
        ("rtp://@:x", "expected rtp://@:PORT"),
        ("csi://front", "expected the number of the sensor"),
        ("webcam://0", "'webcam' is no kind of source; there are v4l2://"),
    ],
)
def test_a_source_that_gives_nothing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken").mkdir()
    for name in ("a.jpg", "b.png"):
        (Path("broken") / name).write_bytes(b"not an image")
    Path("empty.txt").write_text("# nothing\n")
    Path("bad.mp4").write_bytes(b"not a video" * 50)
    with pytest.raises(SourceError, match=text) as caught:
        open_source(uri, CAMERA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", [0, "0", "camera:0", "/dev/video0", "v4l2:///dev/video0"])
def test_spellings_of_a_camera(monkeypatch: pytest.MonkeyPatch, uri: str | int) -> None:
    asked = []

    def refuse(_: V4l2Capture, path: Path, options: CameraOptions, *, grey: bool) -> None:
        asked.append((path, options.size, grey))
        raise SourceError("none here")

    monkeypatch.setattr(V4l2Capture, "__init__", refuse)
    with pytest.raises(SourceError, match="none here"):
        open_source(uri, CAMERA)
    assert asked == [(Path("/dev/video0"), (CAMERA.width, CAMERA.height), True)]


def test_a_missing_camera_names_those_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(with_opencv.glob, "glob", lambda _: ["/dev/video8", "/dev/video2"])
    with pytest.raises(SourceError, match="cameras present: /dev/video2 /dev/video8"):
        open_source(77, CAMERA)


def test_the_pipeline_of_a_camera_on_a_jetson_asks_for_what_is_wanted() -> None:
    options = CameraOptions(size=(1280, 720), rate_hz=60, exposure_ms=5, gain=2)
    assert csi_pipeline(1, options, grey=True) == (
        'nvarguscamerasrc sensor-id=1 exposuretimerange="5000000 5000000" gainrange="2 2" '
        "! video/x-raw(memory:NVMM),width=1280,height=720,framerate=(fraction)60/1 "
        "! nvvidconv ! video/x-raw,format=GRAY8 ! appsink drop=true max-buffers=1 sync=false"
    )
    uneven = csi_pipeline(0, CameraOptions(rate_hz=30000 / 1001), grey=False)
    assert ",framerate=(fraction)30000/1001 !" in uneven
    assert "format=BGR ! appsink" in uneven


@pytest.mark.parametrize("package", ["depthai", "pyrealsense2"])
def test_cameras_of_a_package_that_is_not_installed(package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    extra = {"depthai": "oak", "pyrealsense2": "realsense"}[package]
    with pytest.raises(MissingPackageError, match=rf"pip install 'edge-reloc\[{extra}\]'"):
        open_source(f"{extra}://")


def test_what_the_command_line_asks_of_a_camera() -> None:
    asked = "--camera-size 1280x720 --camera-rate 59.94 --camera-format NV12 --exposure-ms 4"
    options = parse(["--camera", "0", *asked.split(), "--gain", "2.5"])
    assert camera_options(options) == CameraOptions(
        size=(1280, 720), rate_hz=59.94, pixel_format="NV12", exposure_ms=4, gain=2.5
    )
    assert not camera_options(parse(["--camera", "0"])).asked
    with pytest.raises(SystemExit):
        parse(["--camera", "0", "--camera-size", "1280"])
    for wrong in ({"size": (8, 8)}, {"rate_hz": 0.0}, {"pixel_format": "YUYV2"}):
        with pytest.raises(ConfigError, match=r"^camera "):
            CameraOptions(**wrong)


def test_files_are_asked_for_nothing(folder: Path) -> None:
    with pytest.raises(SourceError, match="asked of a camera, and this is none"):
        open_source(folder, options=CameraOptions(rate_hz=30))


def test_gstreamer_is_refused_where_opencv_lacks_it() -> None:
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match="this OpenCV has no GStreamer"):
        open_source("gst:videotestsrc ! appsink", CAMERA)


@pytest.mark.usefixtures("reader")
def test_video_gives_every_frame_at_its_time(video: Path) -> None:
    source = open_source(str(video), CAMERA)
    for _ in range(2):  # and again from the start
        frames = list(source)
        assert [number_of(f.image) for f in frames] == list(range(VIDEO_FRAMES))
        period_ns = round(1e9 / VIDEO_RATE_HZ)
        assert [f.t_ns for f in frames] == [i * period_ns for i in range(VIDEO_FRAMES)]
        assert frames[0].camera == CAMERA.scaled_to(WIDTH, HEIGHT)
        assert frames[0].image.shape == (HEIGHT, WIDTH)
    assert source.skipped == [] and source.dropped == 0
    source.close()


@pytest.mark.usefixtures("reader")
def test_cut_off_video_ends_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (WIDTH, HEIGHT))
    for number in range(40):
        writer.write(textured(number))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path), CAMERA)
    frames = list(source)
    assert 10 < len(frames) < 30
    *undecodable, end = source.skipped  # PyAV tells of the one that is there in part
    assert len(undecodable) <= 1
    read = len(frames) + len(undecodable)
    assert end.startswith(f"frames from {read} on: the video ends before")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_how_long_a_video_file_says_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"video.{suffix}"
    code = "MJPG" if suffix == "avi" else "mp4v"
    write_video(path, [textured(number) for number in range(10)], 20.0, code)
    size = path.stat().st_size
    assert promised_bytes(path) == size
    data = path.read_bytes()
    for share in (0.4, 0.7, 0.99):
        path.write_bytes(data[: int(size * share)])
        promised = promised_bytes(path)
        # An MP4 whose tables come last ends with its frames for all that it says.
        assert promised is not None and promised > path.stat().st_size
    path.write_bytes(data[:3])
    assert promised_bytes(path) is None


@pytest.mark.usefixtures("reader")
def test_a_video_of_uneven_rate_loses_and_misses_no_frame(tmp_path: Path) -> None:
    images = [np.full((HEIGHT, WIDTH, 3), n * STEP_GREY, np.uint8) for n in range(VIDEO_FRAMES)]
    held, trimmed = tmp_path / "held.mp4", tmp_path / "trimmed.mp4"
    for path in (held, trimmed):
        write_video(path, images, VIDEO_RATE_HZ)
    hold_last_frame(held, 100)  # the nominal rate is no rate of any two frames
    begin_at(trimmed, 12)  # the container counts frames that are never shown
    for path, first in ((held, 0), (trimmed, 12)):
        source = open_source(str(path), CAMERA)
        frames = list(source)
        assert [number_of(f.image) for f in frames] == list(range(first, VIDEO_FRAMES))
        assert [f.t_ns for f in frames] == [i * 50 * MS_NS for i in range(len(frames))]
        assert source.skipped == []
    held.write_bytes(held.read_bytes() + b"\0\0\0\x08free")
    source = open_source(str(held), CAMERA)
    assert len(list(source)) == VIDEO_FRAMES and source.skipped == []


#: codec, container, pixels
CODECS = [
    ("libx264", "mp4", "yuv420p"),
    ("libx265", "mp4", "yuv420p"),
    ("libx265", "mkv", "yuv420p10le"),
    ("libvpx-vp9", "webm", "yuv420p"),
    ("mjpeg", "mkv", "yuvj420p"),
]


@pytest.mark.parametrize(("codec", "suffix", "pixels"), CODECS)
def test_codecs_and_a_rate_that_varies(
    tmp_path: Path, codec: str, suffix: str, pixels: str
) -> None:
    av = pytest.importorskip("av")
    path, times = tmp_path / f"video.{suffix}", [0, 1, 2, 5, 9, 10, 20, 21, 22, 40]
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=quiet)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for number, time_30 in enumerate(times):
            image = np.full((HEIGHT, WIDTH, 3), (number + 2) * STEP_GREY, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = time_30, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = open_source(path, CAMERA)
    frames = list(source)
    assert [number_of(f.image) - 2 for f in frames] == list(range(len(times)))
    assert [f.t_ns for f in frames] == pytest.approx([t * 1e9 / 30 for t in times], abs=1e6)
    assert source.skipped == [] and source.ended
    source.close()


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("clockwise_deg", [0, 90, 180, 270])
def test_a_rotation_flag_is_told_and_never_applied(
    tmp_path: Path, clockwise_deg: int, live: bool
) -> None:
    path = tmp_path / "phone.mp4"
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:20, :30] = 255
    write_video(path, [image] * 5, VIDEO_RATE_HZ)
    flag_rotation(path, clockwise_deg)
    shown = cv2.VideoCapture(str(path)).read()[1]  # OpenCV alone turns it
    source = open_source(f"replay:{path}" if live else path, CAMERA, grey=False)
    frame = next(iter(source))
    source.close()
    assert frame.image.shape == (HEIGHT, WIDTH, 3) and frame.quarter_turns is None
    assert frame.upright_turns == -clockwise_deg // 90 % 4
    assert np.array_equal(np.rot90(frame.image, frame.upright_turns), shown)


def test_a_video_replayed_drops_late_frames_and_keeps_only_the_newest(video: Path) -> None:
    source = open_source(f"replay:{video}", CAMERA)
    assert source.live
    got, ages_ns = [], []
    for frame in source:
        ages_ns.append(time.monotonic_ns() - frame.t_ns)
        assert number_of(frame.image) == frame.index
        got.append(frame.index)
        time.sleep(0.16)  # the frames come every 0.05 s
    assert got == sorted(set(got)) and got[-1] == VIDEO_FRAMES - 1
    passed = got[-1] - got[0] + 1
    assert source.dropped == passed - len(got)
    assert source.dropped >= passed // 2  # a consumer three times too slow
    source.close()


def test_frames_of_another_size_in_a_video_are_left_out_and_told(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(video, CAMERA)
    pictures = list(source._reader)  # type: ignore[attr-defined]
    changed = [
        Picture(image=p.image[:, :HEIGHT] if n < 4 else p.image, t_ns=p.t_ns)
        for n, p in enumerate(pictures)
    ]

    class Changing(list[Picture]):
        rate_hz = VIDEO_RATE_HZ

    monkeypatch.setattr(source, "_reader", Changing(changed))
    assert len(list(source)) == VIDEO_FRAMES - 4
    assert len(source.skipped) == 4
    assert "frame 0: " in source.skipped[0] and "48x48" in source.skipped[0]
