"""Ways to spoil a map of tiles so that its sizes and hashes still agree."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from random import Random

from bundle_mutations import MANIFEST, mutate, spoil_array, spoil_values, write

INDEX = "tiles.json"


def mutate_city(random: Random, city: Path) -> str:
    """Spoil the index, what lies beside it, or a tile; what was done, in words."""
    index = json.loads((city / INDEX).read_text())
    how = random.choice(("index", "index", "places", "tile", "tile", "tile"))
    if how == "index":
        done = spoil_values(random, index)
    elif how == "places":
        name = random.choice(sorted(index["files"]))
        done = spoil_array(random, city, index, name)
    else:
        row = random.choice(index["tiles"])
        tile = city / "tiles" / row["name"]
        done = f"{row['name']}: {mutate(random, tile)}"
        row["manifest_sha256"] = sha256((tile / MANIFEST).read_bytes()).hexdigest()
    write(city / INDEX, json.dumps(index).encode("utf-8", "surrogatepass"))
    return done
