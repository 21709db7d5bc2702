"""Make the demo that ships with the project: a courtyard that never was.

    python examples/make_demo.py /tmp/demo      (minutes; needs edge-reloc[export])

1. render 96 mapping photos and 100 query frames, with exact truth;
2. map the photos and 3. train the place's network, by the programs that
   everybody uses; 4. put the bundle and the frames into the package.
"""

import sys
from pathlib import Path

from edge_reloc_export.worlds import write


def main(work: Path) -> int:
    place = work / "courtyard"
    return write.main(["--output", str(place), "--seed", "7", "--frames", "100"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
