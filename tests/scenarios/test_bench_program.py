"""`edge-reloc bench`: a scene as published to a table, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edge_reloc
from edge_reloc.bundle.reader import open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import camera_centre, invert, quat_from_rotation
from edge_reloc.reference.colmap import read_model
from edge_reloc_export.bench import main
from edge_reloc_export.benchmark.code_version import code_version
from edge_reloc_export.benchmark.localize import of_any_place
from edge_reloc_export.benchmark.steps import Steps

DEMO = Path(edge_reloc.__file__).parent / "demo"
PHOTOS = 12

#: a system that finds nothing
PEER = """
import json, sys
from pathlib import Path
scene, output, every = sys.argv[1:]
line = {"status": "NO_POSE", "cam_from_world": None, "covariance": None, "candidates": 9}
line["stages_ms"] = {"extract": 2.0, "solve": 3.0}
names = Path(scene, "queries.txt").read_text().split()[:: int(every)]
Path(output).write_text("".join(json.dumps({"name": n, **line}) + chr(10) for n in names))
facts = {"peak_bytes": 1 << 20, "map_bytes": 5e6, "network_bytes": 1e6, "mapping_s": 7.0}
Path(output).with_suffix(".facts.json").write_text(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the demo in instant-ngp's layout, each fourth to be localised."""
    folder = tmp_path_factory.mktemp("courtyard")
    (folder / "images").mkdir()
    camera = read_camera(DEMO / "camera.json")
    poses = {i.name: i.cam_from_world for i in read_model(DEMO / "truth").images}
    lens = dict(zip(("k1", "k2", "p1", "p2"), camera.distortion, strict=False))
    values = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx + 0.5, "cy": camera.cy + 0.5}
    splits: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for index in range(PHOTOS):
        name = f"frame_{index:03d}.jpg"
        (folder / "images" / name).symlink_to(DEMO / "frames" / name)
        view = invert(poses[name]) @ np.diag([1.0, -1.0, -1.0, 1.0])
        frame = {"file_path": f"images/{name}", "transform_matrix": view.tolist()}
        splits["test" if index % 4 == 2 else "train"].append(frame)
    for split, frames in splits.items():
        text = json.dumps({**values, **lens, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)
    return folder


def test_a_scene_to_a_table_and_again(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = {i.name: i.cam_from_world for i in read_model(DEMO / "truth").images}
    others = tmp_path / "others.txt"
    moved = []
    for index in (2, 6):  # another system: 1 and 2 cm beside the truth, and one query lost
        pose = truth[f"frame_{index:03d}.jpg"].copy()
        pose[0, 3] += 0.01 * (index + 2) / 4
        quat = quat_from_rotation(pose[:3, :3])
        words = " ".join(repr(float(v)) for v in (*quat, *pose[:3, 3]))
        moved.append(f"frame_{index:03d}.jpg {words}")
    others.write_text("\n".join(moved) + "\n")
    command = ["--dataset", f"nerf:{scene}", "--output", str(tmp_path / "out")]
    command += ["--methods", "exhaustive+2,exhaustive+2@tiny,image_retrieval:5+f16"]
    command += ["--poses", f"others={others}"]
    command += ["--map-options=--keypoints 512", "--against", "others"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err.count("localise ") == 3 and "| exhaustive+2 |" in out
    assert "Against others:" in out and "| exhaustive+2 | +33.3 | " in out
    rows = {r["system"]: r for r in json.loads((tmp_path / "out/results.json").read_text())["rows"]}
    assert list(rows) == ["exhaustive+2", "exhaustive+2@tiny", "image_retrieval:5+f16", "others"]
    tiny = rows["exhaustive+2@tiny"]  # a quarter of the points, a byte a number
    ours, theirs = rows["exhaustive+2"], rows["others"]
    assert 4 * (tiny["map_mb"] - tiny["network_mb"]) < ours["map_mb"] - ours["network_mb"]
    assert tiny["localised"] == 3 and tiny["network_mb"] == ours["network_mb"]
    assert ours["localised"] == ours["queries"] == 3
    assert ours["median"] < 0.02 * ours["scene_size"]
    assert theirs["localised"] == 2 and theirs["queries"] == 3
    assert theirs["median"] == pytest.approx(0.02)  # of 1 cm, 2 cm and infinity
    assert theirs["median_95"][1] is None
    assert 0 < ours["network_mb"] < ours["map_mb"] and ours["mapping_s"] > 0
    assert ours["peak_mib"] > 0 and ours["map_mb"] > 0 and "localize" in ours["command"]
    page = (tmp_path / "out/results.html").read_text()
    assert page.count("<svg") == 1 and "others" in page
    centres = [camera_centre(pose) for pose in truth.values()]
    assert np.ptp(centres, axis=0).max() > 0.1  # the scene is one in which that means something

    # What is there is not made again; what is not there is.
    name = scene.name
    poses = tmp_path / "out" / name / "poses"
    (poses / "image_retrieval_5+f16.jsonl").unlink()
    done = tmp_path / "out" / name / "steps.json"
    assert done.read_text().count(code_version()) == 6 and "done by" not in out
    steps = json.loads(done.read_text())
    steps["map"]["code"] = "0.1.0+12345678"
    done.write_text(json.dumps(steps))
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "localise image_retrieval:5+f16:" in err
    assert "localise exhaustive+2" not in err and "map:" not in err
    assert f"{name}: map: done by 0.1.0+12345678, this is {code_version()}" in out

    # Other systems join in, once; one that cannot is a note, and the rest goes on.
    (tmp_path / "peer.py").write_text(PEER)
    command += ["--peer", f"peer:3=python {tmp_path}/peer.py {{scene}} {{output}} {{every}}"]
    command += ["--peer", "absent=no-such-program {scene}"]
    (tmp_path / "bad.py").write_text("import sys; open(sys.argv[1], 'w').write('{}')")
    command += ["--peer", f"bad=python {tmp_path}/bad.py {{output}}"]
    for runs in (1, 0):
        assert main(command) == 1
        out, err = capsys.readouterr()
        assert err.count("localise peer:3:") == runs
        assert "- courtyard" in out and "no-such-program: cannot be run" in out
        assert "bad.jsonl:1: not a line of poses.jsonl" in out
    rows = {r["system"]: r for r in json.loads((tmp_path / "out/results.json").read_text())["rows"]}
    assert set(rows) == {
        *("exhaustive+2", "exhaustive+2@tiny", "image_retrieval:5+f16", "others", "peer:3")
    }
    peer = rows["peer:3"]
    assert (peer["localised"], peer["map_mb"], peer["network_mb"]) == (0, 5.0, 1.0)
    assert (peer["mapping_s"], peer["total_ms"], peer["retrieval_mb"]) == (7.0, 5.0, None)


def test_networks_of_this_place_alone_are_no_others() -> None:
    bundle = open_bundle(DEMO / "map")
    [features] = bundle.manifest.features.networks  # not its heads, recogniser or coordinates
    assert of_any_place(bundle) & set(bundle.manifest.files) == {features.file}


def test_what_rests_on_other_data_is_done_again(tmp_path: Path) -> None:
    def number(data: str) -> str:
        steps = Steps(tmp_path)  # as of a new run
        step = steps.run("map", "python", "-m", "this", output=tmp_path, after=[data])
        return step.number

    assert number("one") == number("one")
    assert number("one") != number("another")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "nothing"], "method 'nothing': found 'nothing'"),
        (["--poses", "hloc"], "expected NAME=FILE"),
        (["--peer", "hloc"], "expected NAME=COMMAND"),
        (
            ["--peer", "hloc=run {photos}"],
            "{scene}, {map}, {work}, {threads}, {every} and {output}",
        ),
        (["--methods", "exhaustive@small"], "after '@' one of full, standard, tiny is expected"),
        (["--against", "hlok"], "--against: found 'hlok', expected one of exhaustive, "),
        (["--train", "everything"], "expected one of visible_structure"),
        (["--dataset", "7scenes:/nowhere"], "no such folder; download the data set"),
        (["--dataset", "nerf:{scene}"], "two scenes are named"),
    ],
)
def test_what_it_cannot_do(
    arguments: list[str],
    words: str,
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [argument.replace("{scene}", str(scene)) for argument in arguments]
    command = ["--dataset", f"nerf:{scene}", "--output", str(tmp_path / "out"), *arguments]
    assert main(command) == 1
    assert words in capsys.readouterr().err
