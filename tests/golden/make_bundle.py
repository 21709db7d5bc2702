"""The golden bundle: a tiny map whose bytes must never change by accident.

`python tests/golden/make_bundle.py` writes it again after a deliberate change
of the format; the difference then shows in the commit.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_reloc.bundle import BundleWriter, Manifest, World
from edge_reloc.bundle.layout import CELL_CENTRE, CELL_RADIUS, CELL_START, DESCRIPTORS, XYZ
from edge_reloc.bundle.manifest import NetworkDescription, NetworkEntry, TensorEntry
from edge_reloc.embedding.spec import EmbeddingSpec
from edge_reloc.features import FeatureSpec

GOLDEN = Path(__file__).parent / "bundle"
NETWORK = "nets/none.onnx"


def write_golden(directory: Path) -> None:
    """Write the golden bundle from integers only: the same bytes everywhere."""
    manifest = Manifest(
        name="golden",
        world=World(
            metric=True,
            gravity=(0.0, 0.0, -1.0),
            georeference={"latitude_deg": 55.7, "longitude_deg": 13.2, "altitude_m": 40.0},
        ),
        features=FeatureSpec(kind="sift", dim=4, keypoints=16),
        embedding=EmbeddingSpec(kind="vlad", dim=2),
        method="exhaustive",
        methods={"exhaustive": {"second_pass": False}},
        networks={NETWORK: NetworkEntry(role="cells", islands=("first/Conv",))},
        cameras={
            "camera0": {
                "model": "pinhole",
                "width": 64,
                "height": 48,
                "fx": 50.0,
                "fy": 50.0,
                "cx": 31.5,
                "cy": 23.5,
                "distortion": [],
                "rms_px": None,
            }
        },
        statistics={"points": 6},
        generator="golden",
    )
    with BundleWriter(directory, manifest) as writer:
        writer.add_array(XYZ, np.arange(18, dtype=np.float32).reshape(6, 3), "metre")
        writer.add_array(DESCRIPTORS, np.eye(6, 4, dtype=np.float16))
        writer.add_array(CELL_START, np.array([0, 4, 6], np.int32))
        writer.add_array(CELL_CENTRE, np.array([[4, 5, 6], [13, 14, 15]], np.float32), "metre")
        writer.add_array(CELL_RADIUS, np.array([9, 3], np.float32), "metre")
        writer.add_bytes(NETWORK, b"not a network, but a listed file")
        described = NetworkDescription(
            inputs={"image": TensorEntry(dtype="float32", shape=(1, 1, 48, 64))},
            outputs={"share": TensorEntry(dtype="float16", shape=(1, 2))},
            weight_bytes=1000,
            activation_bytes=3072,
        )
        writer.manifest.files[NETWORK] = replace(writer.manifest.files[NETWORK], network=described)


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write_golden(GOLDEN)
