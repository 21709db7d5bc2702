"""What rotation, scale, blur and darkness do to each kind of features.

    python tests/benchmarks/features.py --data DATA --weights WEIGHTS
    python tests/benchmarks/features.py ... --kinds sift xfeat waymark=runs/waymark/checkpoint.pt

Two questions. `changes`: photos of a scene against themselves turned, made smaller or
larger, blurred or darkened, so the truth is exact. `headings`: pairs of drone photos with
reference poses, flown the same way and opposite ways, the second photo as it is and turned
by half a turn. Matches are mutual nearest neighbours above the kind's similarity. A kind
is named like its weights file, or NAME=FILE.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.features import FeatureSpec, NetworkSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import camera_centre, hat, invert
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.reference.colmap import read_model
from edge_reloc.stages import Extractor
from edge_reloc.structs import Features, Frame

Array = NDArray[np.float64]
ANGLES_DEG = (0, 10, 20, 30, 45, 60, 90, 135, 180)
SCALES = (0.5, 0.7, 1.4)
BLURS_PX = (1.0, 2.0, 4.0)  # standard deviations
DARKNESS = (0.3, 0.1, 0.03)  # of the light; the sensor's noise stays as it is
SENSOR_NOISE = 2.0  # grey levels
SCENE, PHOTOS = "herz_jesus", 6
TOLERANCE_PX = 3.0
HOMOGRAPHY_PX = 3.0  # mean at the photo's corners
PAIRS = 12
EPIPOLAR_TOLERANCE_PX = 2.0
NEIGHBOUR_M = (3.0, 20.0)  # of flight between the photos of a pair


class Kind:
    """One kind of features for photos of one size, with its own buffers."""

    def __init__(self, name: str, weights: Path, keypoints: int, size: tuple[int, int]) -> None:
        width, height = size
        self.name = name
        self._arena = Arena()
        self._camera = Camera(
            model="pinhole", width=width, height=height, fx=1, fy=1, cx=width / 2, cy=height / 2
        )
        with tempfile.TemporaryDirectory() as work:
            spec = _spec(name, weights, keypoints, size, Path(work))
            self._extractor: Extractor = open_extractor(
                spec, self._camera, lambda file: open_engine(Path(work) / file, self._arena)
            )
        self.min_similarity = spec.min_similarity
        self._features = Features(self._arena, keypoints, spec.dim, 0, spec.place_dim)

    def extract(self, image: NDArray[np.uint8], turns: int = 0) -> tuple[Array, Array]:
        """Pixels (N,2) in the photo as it is, and descriptors (N,D)."""
        frame = Frame(image=image, t_ns=0, camera=self._camera, quarter_turns=turns)
        self._extractor.extract(frame, self._features)
        n = self._features.n
        return self._features.xy_px[:n].copy(), self._features.descriptor[:n].copy()

    def match(self, a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        """Pixels (M,2) in a and in b of the mutual nearest neighbours."""
        if len(a[0]) == 0 or len(b[0]) == 0:
            return np.zeros((0, 2)), np.zeros((0, 2))
        similarity = a[1] @ b[1].T
        forward, backward = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows = np.flatnonzero(backward[forward] == np.arange(len(a[0])))
        rows = rows[similarity[rows, forward[rows]] > self.min_similarity]
        return a[0][rows].astype(np.float64), b[0][forward[rows]].astype(np.float64)


class Change(NamedTuple):
    """A known change of a photo: where pixels go (2,3), and what becomes of the greys.

    Beyond the photo there is its mean grey, or black.
    """

    label: str
    matrix: Array
    light: float = 1.0
    blur_px: float = 0.0
    black: bool = False

    def apply(self, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """The changed photo, of the same size."""
        size = (image.shape[1], image.shape[0])
        # Made smaller, a photo is blurred first, or its texture would turn into noise.
        shrink = 1.0 / np.sqrt(abs(np.linalg.det(self.matrix[:, :2])))
        sigma = max(self.blur_px, 0.5 * (shrink - 1.0))
        seen = cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.05 else image
        grey = cv2.mean(image)[0]
        seen = cv2.warpAffine(
            seen, self.matrix, size, flags=cv2.INTER_LINEAR, borderValue=0 if self.black else grey
        )
        if self.light < 1.0:
            noise = np.random.default_rng(seed).normal(0, SENSOR_NOISE, image.shape)
            seen = np.clip(np.rint(seen * self.light + noise), 0, 255)
        return np.asarray(seen, np.uint8)


def known_changes(width: int, height: int) -> list[Change]:
    """All of them, about the middle of photos of this size."""
    middle = ((width - 1) / 2, (height - 1) / 2)
    still = np.eye(2, 3)
    return [
        *(Change(f"{a}°", cv2.getRotationMatrix2D(middle, a, 1.0)) for a in ANGLES_DEG),
        *(Change(f"x{s}", cv2.getRotationMatrix2D(middle, 0, s)) for s in SCALES),
        Change("45° in black", cv2.getRotationMatrix2D(middle, 45, 1.0), black=True),
        *(Change(f"blur {b:g} px", still, blur_px=b) for b in BLURS_PX),
        *(Change(f"light {d:g}", still, light=d) for d in DARKNESS),
    ]


def changes(kinds: list[str], weights: Path, data: Path, keypoints: int) -> dict[str, object]:
    """Of a photo and itself changed: right and all matches, keypoints found again, and
    whether a homography through the matches is right to HOMOGRAPHY_PX at the corners.
    """
    folder = data / SCENE
    names = sorted((folder / "mapping.txt").read_text().split())
    images = [_grey(folder / "images" / n) for n in names[:: max(len(names) // PHOTOS, 1)]]
    height, width = images[0].shape
    result: dict[str, object] = {}
    for name in kinds:
        kind = Kind(name, weights, keypoints, (width, height))
        plain = [kind.extract(image) for image in images]
        rows = {}
        for change in known_changes(width, height):
            right = total = shared = again = exact = 0
            for seed, (image, features) in enumerate(zip(images, plain, strict=True)):
                expected = features[0] @ change.matrix[:, :2].T + change.matrix[:, 2]
                inside = ((expected > 8) & (expected < [width - 9, height - 9])).all(axis=1)
                visible = (features[0][inside], features[1][inside])
                found = kind.extract(change.apply(image, seed))
                again += _found_again(expected[inside], found[0])
                xy_a, xy_b = kind.match(visible, found)
                exact += _homography_is_right(xy_a, xy_b, change.matrix, width, height)
                there = xy_a @ change.matrix[:, :2].T + change.matrix[:, 2]
                right += int((np.linalg.norm(there - xy_b, axis=1) < TOLERANCE_PX).sum())
                total += len(xy_a)
                shared += len(visible[0])
            rows[change.label] = {
                "right": right,
                "matches": total,
                "keypoints": shared,
                "found again": again,
                "homographies": exact,
                "photos": len(images),
            }
        result[name] = rows
        for what, part, whole in (
            ("matched", "right", "keypoints"),
            ("repeated", "found again", "keypoints"),
            ("homography", "homographies", "photos"),
        ):
            cells = "  ".join(f"{c}: {r[part] / r[whole]:.0%}" for c, r in rows.items())
            print(f"  {name.split('=')[0]:<16} {what:<10} {cells}", flush=True)
    return result


def _found_again(expected: Array, found: Array) -> int:
    """How many of the keypoints have one within the tolerance in the changed photo."""
    if len(expected) == 0 or len(found) == 0:
        return 0
    near, _ = KDTree(found.astype(np.float64)).query(expected.astype(np.float64), k=1)
    return int((near < TOLERANCE_PX).sum())


def _homography_is_right(xy_a: Array, xy_b: Array, matrix: Array, width: int, height: int) -> bool:
    if len(xy_a) < 8:
        return False
    found, _ = cv2.findHomography(xy_a, xy_b, cv2.USAC_MAGSAC, 2.0, maxIters=5000)
    if found is None:
        return False
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    there = cv2.perspectiveTransform(corners[:, None], found)[:, 0]
    error = np.linalg.norm(there - (corners @ matrix[:, :2].T + matrix[:, 2]), axis=1)
    return bool(error.mean() < HOMOGRAPHY_PX)


def headings(kinds: list[str], weights: Path, data: Path, keypoints: int) -> dict[str, object]:
    """Right and all matches of drone photos flown the same and opposite ways."""
    folder = data / "caliterra"
    camera, distortion, poses = _reference(folder)
    pairs = {"same": _pairs(poses, opposite=False), "opposite": _pairs(poses, opposite=True)}
    some = _grey(folder / "images" / pairs["same"][0][0])
    result: dict[str, object] = {}
    for name in kinds:
        kind = Kind(name, weights, keypoints, (some.shape[1], some.shape[0]))
        rows = {}
        for heading, turns in (("same", 0), ("opposite", 0), ("opposite", 2)):
            right = total = 0
            for first, second in pairs[heading]:
                a = kind.extract(_grey(folder / "images" / first))
                b = kind.extract(_grey(folder / "images" / second), turns)
                xy_a, xy_b = kind.match(a, b)
                fundamental = _fundamental(camera, poses[first], poses[second])
                xy_a = _undistort(xy_a, camera, distortion)
                xy_b = _undistort(xy_b, camera, distortion)
                error = _epipolar_px(fundamental, xy_a, xy_b)
                right += int((error < EPIPOLAR_TOLERANCE_PX).sum())
                total += len(error)
            label = heading + (", turned" if turns else "")
            rows[label] = {"right": right, "matches": total}
        result[name] = rows
        cells = "  ".join(f"{h}: {r['right']} of {r['matches']}" for h, r in rows.items())
        print(f"  {name.split('=')[0]:<16} {cells}", flush=True)
    return result


def main(argv: list[str] | None = None) -> int:
    """Print both tables; `--json` writes them to a file as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of scenes")
    parser.add_argument("--weights", type=Path, required=True, help="folder of weights")
    parser.add_argument("--keypoints", type=int, default=2048)
    parser.add_argument(
        "--kinds", nargs="+", default=["sift", "xfeat", "edgepoint2_S64", "edgepoint2_E64"]
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(argv)
    print(f"{SCENE}, photo against itself changed: right matches of the keypoints in view")
    by_change = changes(options.kinds, options.weights, options.data, options.keypoints)
    print(f"drone pairs: matches within {EPIPOLAR_TOLERANCE_PX:g} px of the epipolar line")
    by_heading = headings(options.kinds, options.weights, options.data, options.keypoints)
    if options.json:
        options.json.write_text(
            json.dumps({"changes": by_change, "headings": by_heading}, indent=1)
        )
    return 0


def _spec(
    name: str, weights: Path, keypoints: int, size: tuple[int, int], work: Path
) -> FeatureSpec:
    if name == "sift":
        return FeatureSpec(kind="sift", dim=128, keypoints=keypoints, min_similarity=0.8)
    from edge_reloc_export.onnx.export import export_features, feature_spec

    name, _, given = name.partition("=")
    kind = name.split("_")[0]
    file = weights / ("xfeat.onnx" if kind == "xfeat" else f"{name}.pth")
    file = Path(given) if given else file
    export_features(kind, file, *size, keypoints, work / "features.onnx")
    network = NetworkSpec(file="features.onnx", width=size[0], height=size[1])
    return feature_spec(kind, file, keypoints, [network])


def _grey(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SystemExit(f"{path}: cannot be read as a photo")
    return image


def _reference(folder: Path) -> tuple[Array, Array, dict[str, Array]]:
    """K (3,3), distortion, cam_from_world by name, of photos of one camera."""
    model = read_model(folder / "reference")
    camera = next(iter(model.cameras.values()))
    poses = {image.name: image.cam_from_world for image in model.images}
    return camera.matrix, np.array(camera.distortion), poses


def _pairs(poses: dict[str, Array], *, opposite: bool) -> list[tuple[str, str]]:
    """Every so-manieth pair of neighbours whose x axes agree or oppose."""
    names = sorted(poses)
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            apart = np.linalg.norm(camera_centre(poses[first]) - camera_centre(poses[second]))
            agreement = float(poses[first][0, :3] @ poses[second][0, :3])
            near = NEIGHBOUR_M[0] < apart < NEIGHBOUR_M[1]
            if near and (agreement < -0.9 if opposite else agreement > 0.9):
                found.append((first, second))
    return found[:: max(len(found) // PAIRS, 1)][:PAIRS]


def _fundamental(camera: Array, a_from_world: Array, b_from_world: Array) -> Array:
    b_from_a = b_from_world @ invert(a_from_world)
    essential = hat(b_from_a[:3, 3]) @ b_from_a[:3, :3]
    inverse = np.linalg.inv(camera)
    return inverse.T @ essential @ inverse


def _undistort(xy_px: Array, camera: Array, distortion: Array) -> Array:
    if len(xy_px) == 0:
        return xy_px
    return cv2.undistortPoints(xy_px[:, None], camera, distortion, P=camera)[:, 0]


def _epipolar_px(fundamental: Array, xy_a: Array, xy_b: Array) -> Array:
    """Mean distance (M,) of both points to their epipolar lines, pixels."""
    a = np.concatenate([xy_a, np.ones((len(xy_a), 1))], axis=1)
    b = np.concatenate([xy_b, np.ones((len(xy_b), 1))], axis=1)
    in_b, in_a = a @ fundamental.T, b @ fundamental
    residual = np.abs((b * in_b).sum(axis=1))
    slopes = 1 / np.hypot(in_b[:, 0], in_b[:, 1]) + 1 / np.hypot(in_a[:, 0], in_a[:, 1])
    return 0.5 * residual * slopes


if __name__ == "__main__":
    raise SystemExit(main())
