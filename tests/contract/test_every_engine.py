"""What `inference.Engine` promises: buffers that never move, taken from the arena."""

from __future__ import annotations

import numpy as np
import pytest
from demo_stages import Demo

from edge_reloc.errors import EngineError
from edge_reloc.inference.engines import Engines
from edge_reloc.inference.planned import PlannedEngines
from edge_reloc.memory.arena import Arena

NETWORK = "nets/cells.onnx"
KINDS = {"onnxruntime": Engines, "planned": PlannedEngines}


@pytest.mark.parametrize("kind", KINDS)
def test_buffers_are_the_arenas_and_stay_where_they_are(kind: str, demo: Demo) -> None:
    arena = Arena()
    engines = KINDS[kind](demo.bundle, arena)
    engine = engines.open(NETWORK)
    engines.ready()
    arrays = {**engine.inputs, **engine.outputs}
    assert set(engine.inputs) == {"embedding"} and set(engine.outputs) == {"share"}
    assert [entry.nbytes for entry in arena.ledger] == [a.nbytes for a in arrays.values()]
    arena.seal()
    places = {name: array.ctypes.data for name, array in arrays.items()}
    engine.inputs["embedding"][:] = 0.05
    engine.run()
    assert {n: a.ctypes.data for n, a in {**engine.inputs, **engine.outputs}.items()} == places
    assert np.isfinite(engine.outputs["share"]).all()
    engines.close()
    engines.close()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_lies_on_a_gpu(kind: str, demo: Demo) -> None:
    engine = KINDS[kind](demo.bundle, Arena()).open(NETWORK)
    assert engine.address("embedding") == engine.address("share") == 0
    with pytest.raises(EngineError, match="'embedding' does not lie on a GPU"):
        engine.written_on_gpu("embedding")


def test_a_planned_engine_takes_what_the_real_one_takes(demo: Demo) -> None:
    networks = [name for name in demo.bundle.manifest.files if name.endswith(".onnx")]
    assert len(networks) >= 4
    ledgers = []
    for kind in KINDS.values():
        arena = Arena()
        for network in networks:
            kind(demo.bundle, arena).open(network)
        ledgers.append(arena.ledger)
    assert ledgers[0] == ledgers[1]
