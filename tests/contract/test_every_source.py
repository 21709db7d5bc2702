"""What `sources.Source` promises: frames in order, of the size that was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.sources import Source, open_source

WIDTH, HEIGHT = 64, 48
FRAMES, RATE_HZ = 6, 50.0
CAMERA = Camera(model="pinhole", width=128, height=96, fx=100, fy=100, cx=63.5, cy=47.5)
SQUARE = Camera(model="pinhole", width=96, height=96, fx=100, fy=100, cx=47.5, cy=47.5)

Open = Callable[..., Source]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames as photos, as a list of photos and as a video."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "photos").mkdir()
    code = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(folder / "video.avi"), code, RATE_HZ, (WIDTH, HEIGHT))
    for number in range(FRAMES):
        image = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), image)
        writer.write(image)
    writer.release()
    (folder / "list.txt").write_text("".join(f"photos/{n}.png\n" for n in range(FRAMES)))
    return folder


@pytest.fixture(
    params=["photos", "photos/*.png", "list.txt", "video.avi", "replay:photos", "replay:video.avi"]
)
def opened(request: pytest.FixtureRequest, files: Path) -> Open:
    """Opens one kind of source."""
    scheme, colon, name = str(request.param).rpartition(":")
    address = f"{scheme}{colon}{files / name}"
    return lambda camera=CAMERA, **options: open_source(address, camera, **options)


def test_the_size_is_known_before_the_first_frame_and_true(opened: Open) -> None:
    source = opened()
    assert (source.width, source.height) == (WIDTH, HEIGHT)
    for frame in source:
        assert frame.image.shape == (HEIGHT, WIDTH) and frame.image.dtype == np.uint8
        assert frame.camera == CAMERA.scaled_to(WIDTH, HEIGHT)
    source.close()


def test_frames_come_in_order_and_what_is_missing_is_counted(opened: Open) -> None:
    source = opened()
    frames = list(source)
    index, t_ns = [f.index for f in frames], [f.t_ns for f in frames]
    assert index == sorted(set(index)) and t_ns == sorted(set(t_ns))
    assert len({f.name for f in frames}) == len(frames)
    if source.live:  # late ones are dropped
        assert 1 <= len(frames) + source.dropped <= FRAMES
    else:
        assert len(frames) == FRAMES and source.dropped == 0
    assert source.skipped == []
    source.close()


def test_waiting_gives_the_frames_and_then_nothing(opened: Open) -> None:
    source = opened()
    frames = []
    while (frame := source.wait(30.0)) is not None:
        frames.append(frame)
    assert source.ended and source.wait(0.0) is None and source.fault is None
    index = [frame.index for frame in frames]
    assert index == sorted(set(index)) and 1 <= len(frames) + source.dropped <= FRAMES
    assert source.live or len(frames) == FRAMES
    assert all((frame.received_ns is not None) is source.live for frame in frames)
    assert f"{WIDTH}x{HEIGHT}" in source.about and "times" in source.about
    source.close()


def test_files_give_the_same_frames_again(opened: Open) -> None:
    source = opened()
    if not source.live:
        first, second = list(source), list(source)
        assert [(f.name, f.index, f.t_ns) for f in first] == [
            (f.name, f.index, f.t_ns) for f in second
        ]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    source.close()


def test_colour_as_asked(opened: Open) -> None:
    source = opened(grey=False)
    assert next(iter(source)).image.shape == (HEIGHT, WIDTH, 3)
    source.close()


def test_without_a_calibration_frames_have_no_camera(opened: Open) -> None:
    source = opened(None)
    assert next(iter(source)).camera is None
    assert (source.width, source.height) == (WIDTH, HEIGHT)
    source.close()


def test_a_camera_of_another_aspect_is_refused_when_opening(opened: Open) -> None:
    with pytest.raises(CameraError, match="96x96 but the images are 64x48"):
        opened(SQUARE)


def test_closing_twice_is_closing(opened: Open) -> None:
    source = opened()
    next(iter(source))
    source.close()
    source.close()
