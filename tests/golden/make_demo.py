"""Make the demo that ships with the project: a courtyard that never was.

    python tests/golden/make_demo.py out/demo      (minutes; needs edge-reloc[export])

1. render 96 mapping photos and 80 query frames, with exact truth; 2. map the
photos, 3. train the place's networks and 4. halve them on disk, by the programs that
everybody uses; 5. put the bundle and the frames into the package.

A map that this program makes now is like the demo's, and not the same to the bit. The demo's was
made by it when programs wrote less, and was added to since, its points and networks kept:
`points/sigma.npy` and `cells/observers.npy`, which `map` writes itself today, by a script that is
not kept. It rendered the photos anew, took each point's keypoint in a photo that saw it for the
one nearest to its projection (48,804 of 48,905 lie within 6 pixels), and had `map`'s own code
work out both files, and `integrity` of the manifest once more.
"""

import shutil
import sys
from pathlib import Path

import edge_reloc
from edge_reloc_export import export_compact as to_compact
from edge_reloc_export import map as mapping
from edge_reloc_export import train
from edge_reloc_export.worlds import write


def main(work: Path, demo: Path) -> int:
    place, bundle = work / "courtyard", work / "map"
    failed = write.main(["--output", str(place), "--seed", "7", "--frames", "80"])
    photos = ["--images", str(place / "images"), "--list", str(place / "mapping.txt")]
    poses = ["--poses", str(place / "reference"), "--metric"]
    # Points that six photos see are enough here, and the package stays small.
    small = ["--keypoints", "1500", "--min-length", "6"]
    failed = failed or mapping.main([*photos, *poses, *small, "--output", str(bundle)])
    failed = failed or train.main(["--map", str(bundle)])
    landmarks = ["--method", "landmarks", "--iterations", "1200"]
    failed = failed or train.main(["--map", str(bundle), *landmarks])
    coordinates = ["--method", "scene_coordinates", "--iterations", "2500"]
    failed = failed or train.main(["--map", str(bundle), *coordinates])
    failed = failed or to_compact.main(["--map", str(bundle)])
    if failed:
        return failed
    shutil.rmtree(demo, ignore_errors=True)
    shutil.copytree(bundle, demo / "map")
    shutil.copytree(place / "reference", demo / "truth")
    shutil.copy(place / "camera.json", demo)
    (demo / "frames").mkdir()
    for name in (place / "queries.txt").read_text().split():
        shutil.copy(place / "images" / name, demo / "frames")
    return 0


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    sys.exit(main(where, Path(edge_reloc.__file__).parent / "demo"))
