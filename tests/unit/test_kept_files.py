"""What work folders keep is checked when it is read back: damage is one line, or made again."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_reloc.errors import MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc_export.kept_files import DamagedError, read_arrays
from edge_reloc_export.photos.features import _load as load_features
from edge_reloc_export.scene.matching import read_chunk
from edge_reloc_export.scene.model import SceneModel, View, load_model, save_model
from edge_reloc_export.scene.same_photos import check_photos
from edge_reloc_export.work_folder import at_work


def refused(read: Callable[[Path], object], path: Path) -> None:
    with pytest.raises(DamagedError) as caught:
        read(path)
    assert str(caught.value).isprintable()


def scene() -> SceneModel:
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=31.5, cy=23.5)
    view = View(
        name="a.jpg",
        camera=camera,
        cam_from_world=np.eye(4),
        xy_px=np.zeros((2, 2), np.float32),
        point_id=np.array([0, 1], np.int32),
        keypoint=np.array([0, 1], np.int32),
    )
    return SceneModel(views=[view], xyz=np.zeros((2, 3)), metric=True)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("point_id", np.array([0, 2], np.int32)),
        ("point_id", np.array([-1, 0], np.int32)),
        ("point_id", np.array([0.0, 1.0])),
        ("offsets", np.array([0, 9])),
        ("offsets", np.array([2, 0, 2])),
        ("xyz", np.full((2, 3), np.nan)),
        ("xyz", np.zeros((2, 2))),
        ("xy_px", np.zeros((3, 2))),
        ("header", np.array("[]")),
        ("header", np.array("{}")),
        ("header", np.array("[" * 100_000)),
        ("header", np.array([{}], object)),
    ],
)
def test_kept_models_are_checked(tmp_path: Path, name: str, array: np.ndarray) -> None:
    path = tmp_path / "model.npz"
    save_model(path, scene())
    assert len(load_model(path).views) == 1
    with np.load(path) as data:
        arrays = {**data, name: array}
    np.savez(path, **arrays)
    refused(load_model, path)


def test_kept_arrays_are_no_larger_than_their_file(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(1 << 20))
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xyz.npy", stream.getvalue())
    refused(read_arrays, path)


def test_damaged_caches_count_as_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    features = {"xy_px": np.zeros((3, 2)), "score": np.zeros(2), "descriptor": np.zeros((3, 8))}
    np.savez(path, **features, size=np.array([64, 48]))
    assert load_features(path) is None
    matches = {"count": np.array([2, -1]), "rows": np.zeros((1, 2), int), "similarity": np.ones(1)}
    np.savez(path, **matches)
    assert read_chunk(path, [(0, 1), (0, 2)]) is None


def test_a_photo_that_is_another_now_is_refused() -> None:
    """By training and by updates: what it observes is told by rows of its keypoints."""

    class Store:
        def __init__(self, keypoints: int) -> None:
            self._keypoints = keypoints

        def get(self, name: str) -> Any:
            return SimpleNamespace(xy_px=np.zeros((self._keypoints, 2), np.float32))

        def photo(self, name: str) -> Path:
            return Path(name)

    check_photos(scene(), Store(2))  # type: ignore[arg-type]
    with pytest.raises(MappingError, match="the photo has changed since"):
        check_photos(scene(), Store(1))  # type: ignore[arg-type]


def test_only_a_folder_that_was_made_and_stays_empty_goes(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for folder in (mine, tmp_path / "made"):
        with at_work(folder):
            assert folder.is_dir()
    assert mine.is_dir() and not (tmp_path / "made").exists()
