"""The networks of one place made to serve a world of many alike ones.

Each begins by telling the place, as the prototype of a place that is most alike; undoes
that place's turn; asks the original network; and answers for the place's part of the world. What
a trained head of that size would multiply in its last layer is multiplied here, too, so that
times are those of such a head. C places, E embedding, D descriptor, K cells, L landmarks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from places_alike import Turns

from edge_reloc.arrays import F32

AT_ONCE = 3  # places that the cells head asks
HIDDEN = 256  # of a cells head that is trained
IMPOSSIBLE = -1e4  # what logits of other places are lowered by


class Surgery:
    """A network, and nodes to put before and behind it; names of ours begin with `world.`."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.graph = self.model.graph
        del self.graph.value_info[:]
        self._nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        """An initialiser."""
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node; its first output."""
        outputs = [output, f"{output}.index"] if kind == "TopK" else [output]
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=output, **attributes))
        return output

    def rename_input(self, old: str, new: str) -> None:
        """What the original's layers take under one name they take under another."""
        for node in self.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]

    def place_before(self) -> None:
        """The nodes so far come before the original."""
        nodes = [*self._nodes, *self.graph.node]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self._nodes = []

    def finish(self, output: str, last: int) -> bytes:
        """The other nodes come behind it; `last` is the new size of the output's last axis."""
        self.graph.node.extend(self._nodes)
        shape = self.graph.output[0].type.tensor_type.shape
        shape.dim[len(shape.dim) - 1].dim_value = last
        assert self.graph.output[0].name == output
        onnx.checker.check_model(self.model)
        return self.model.SerializeToString()

    def cut_output(self, output: str) -> str:
        """The original's output under a name of ours, to go on from."""
        node = next(node for node in self.graph.node if output in node.output)
        node.output[list(node.output).index(output)] = f"world.{output}"
        return f"world.{output}"

    def gate(self, query: str, prototypes: F32, count: int) -> str:
        """Numbers (count,) of the places most alike; query (1,E), prototypes (C,M,E)."""
        places, each, length = prototypes.shape
        flat = self.constant("world.prototypes", prototypes.reshape(-1, length).T)
        self.add("MatMul", [query, flat], "world.alike")
        shape = self.constant("world.by_place", np.array([places, each]))
        self.add("Reshape", ["world.alike", shape], "world.alike_by_place")
        axes = self.constant("world.last_axis", np.array([1]))
        self.add("ReduceMax", ["world.alike_by_place", axes], "world.place_score", keepdims=0)
        best = self.constant("world.count", np.array([count]))
        self.add("TopK", ["world.place_score", best], "world.best", axis=0)
        return "world.best.index"

    def undo(self, name: str, turns: Turns, place: str, axis: int) -> str:
        """The input turned back: (1,E) to (G,E) where axis is 0, else along the last axis."""
        partner = self.constant("world.partner", turns.partner)
        factor = self.constant("world.sign", -turns.sign * turns.sine[:, None])
        kept = self.constant("world.cosine", turns.cosine[:, None])
        partner = self.add("Gather", [partner, place], "world.own_partner")
        if axis:  # of one place: (1,D) to (D,)
            flat = self.constant("world.flat", np.array([-1]))
            partner = self.add("Reshape", [partner, flat], "world.one_partner")
            across = self.add("Gather", [name, partner], "world.across", axis=axis)
        else:
            flat = self.constant("world.flat", np.array([-1]))
            whole = self.add("Reshape", [name, flat], "world.whole")
            across = self.add("Gather", [whole, partner], "world.across", axis=0)
        factor = self.add("Gather", [factor, place], "world.own_sign")
        across = self.add("Mul", [across, factor], "world.signed")
        kept = self.add("Mul", [name, self.add("Gather", [kept, place], "world.own_cosine")], "w.k")
        return self.add("Add", [kept, across], "world.undone")


def cells_head(path: Path, turns: Turns, prototypes: F32, merged: F32) -> bytes:
    """Shares (1,C*K) of the best places' cells; merged (cells of the network, K)."""
    net, places = Surgery(path), len(prototypes)
    chosen = net.gate("embedding", prototypes, min(AT_ONCE, places))
    net.rename_input("embedding", net.undo("embedding", turns, chosen, axis=0))
    net.place_before()
    share = net.cut_output("share")
    share = net.add("MatMul", [share, net.constant("world.merged", merged)], "world.of_places")
    numbers = net.constant("world.numbers", np.arange(places)[:, None])
    own = net.add("Equal", [numbers, chosen], "world.is_own")
    own = net.add("Cast", [own], "world.own", to=onnx.TensorProto.FLOAT)
    spread = net.add("MatMul", [own, share], "world.spread")
    cells = places * merged.shape[1]
    spread = net.add("Reshape", [spread, net.constant("world.row", np.array([1, -1]))], "world.all")
    # The last layer of a head for all cells; what it gives is not used.
    wide = np.random.default_rng(0).normal(0, 0.01, (HIDDEN, cells)).astype(np.float32)
    hidden = np.random.default_rng(1).normal(0, 0.1, (prototypes.shape[2], HIDDEN))
    idle = net.add("MatMul", ["embedding", net.constant("world.hidden", np.float32(hidden))], "w.h")
    idle = net.add("MatMul", [idle, net.constant("world.wide", wide)], "w.wide")
    idle = net.add("Sigmoid", [idle], "w.sigmoid")
    idle = net.add("Mul", [idle, net.constant("world.nothing", np.zeros(1, np.float32))], "w.idle")
    net.add("Add", [spread, idle], "share")
    return net.finish("share", cells)


def generative_head(path: Path, turns: Turns, prototypes: F32, shift: F32) -> bytes:
    """Points (S,3) in the place most alike; shift (C,3) of the places."""
    net = Surgery(path)
    chosen = net.gate("embedding", prototypes, 1)
    net.rename_input("embedding", net.undo("embedding", turns, chosen, axis=0))
    net.place_before()
    points = net.cut_output("points")
    here = net.add("Gather", [net.constant("world.shift", shift), chosen], "world.here")
    net.add("Add", [points, here], "points")
    return net.finish("points", 3)


def landmark_head(path: Path, turns: Turns, prototypes: F32, merged: F32) -> bytes:
    """Probabilities (1,K,1+C*L), those of other places 0.

    prototypes (C,M,D): mean descriptors of photos. merged (landmarks of the network, L).
    """
    net, places = Surgery(path), len(prototypes)
    axes = net.constant("world.keypoints", np.array([1]))
    seen = net.add("ReduceSum", ["descriptor", axes], "world.mean", keepdims=0)
    chosen = net.gate(seen, prototypes, 1)
    net.rename_input("descriptor", net.undo("descriptor", turns, chosen, axis=2))
    net.place_before()
    own = net.cut_output("probability")
    with_none = np.zeros((merged.shape[0] + 1, merged.shape[1] + 1), np.float32)
    with_none[0, 0], with_none[1:, 1:] = 1.0, merged
    own = net.add("MatMul", [own, net.constant("world.merged", with_none)], "world.own")
    least = net.constant("world.least", np.full(1, 1e-12, np.float32))
    logit = net.add("Log", [net.add("Max", [own, least], "world.at_least")], "world.log")
    # The last layer of a head for all landmarks: as many products, of which those with the
    # hidden numbers are idle.
    hidden = next(n for n in reversed(net.graph.node) if n.op_type == "LayerNormalization").output
    width = next(i for i in net.graph.initializer if i.name.startswith("recogniser.norm.weight"))
    idle = max(0, width.dims[0] - merged.shape[1] - 1)
    rows = np.zeros((idle, 1 + places * merged.shape[1]), np.float32)
    only = [net.constant(f"world.{end}", np.array([n])) for end, n in (("from", 0), ("to", idle))]
    some = net.add(
        "Slice", [hidden[0], *only, net.constant("world.width", np.array([2]))], "w.some"
    )
    of_place = np.eye(merged.shape[1] + 1, dtype=np.float32)
    tiled = np.hstack([of_place[:, :1], np.tile(of_place[:, 1:], (1, places))])
    both = net.add("Concat", [some, logit], "world.both", axis=2)
    wide = net.constant("world.wide", np.vstack([rows, tiled]))
    wide = net.add("MatMul", [both, wide], "world.logits")
    numbers = np.repeat(np.arange(places), merged.shape[1])[None]
    other = net.add("Equal", [net.constant("world.numbers", numbers), chosen], "world.is_own")
    other = net.add("Cast", [other], "world.is_own_number", to=onnx.TensorProto.FLOAT)
    one = net.constant("world.one", np.ones((1, 1), np.float32))
    lowered = net.add("Sub", [other, one], "world.is_other")
    by = net.constant("world.impossible", np.full(1, -IMPOSSIBLE, np.float32))
    lowered = net.add("Mul", [lowered, by], "world.lowered")
    none = net.constant("world.none", np.zeros((1, 1), np.float32))
    lowered = net.add("Concat", [none, lowered], "world.lowering", axis=1)
    net.add("Softmax", [net.add("Add", [wide, lowered], "world.sum")], "probability", axis=-1)
    return net.finish("probability", 1 + places * merged.shape[1])
