"""A digest changes with everything that it is of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edge_reloc_export.identity import digest_of


@dataclass(frozen=True, kw_only=True)
class Thing:
    array: np.ndarray
    number: float
    inner: tuple[object, ...]


THING = Thing(array=np.arange(6, dtype=np.float32), number=0.5, inner=("a", None, {"k": 1}))


@pytest.mark.parametrize(
    "other",
    [
        replace(THING, array=np.arange(6, dtype=np.float32) + 1e-6),
        replace(THING, array=np.arange(6, dtype=np.float32).reshape(2, 3)),
        replace(THING, array=np.arange(6, dtype=np.float32).view(np.int32)),
        replace(THING, number=0.25),
        replace(THING, inner=("a", None, {"k": 2})),
        replace(THING, inner=("a", None)),
    ],
)
def test_every_field_counts(other: Thing) -> None:
    assert digest_of(THING) == digest_of(replace(THING))
    assert digest_of(other) != digest_of(THING)


def test_parts_do_not_run_together() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of([1, 2], 3) != digest_of([1], [2, 3])
    assert digest_of(1) != digest_of("1") != digest_of(b"1")


def test_a_path_is_what_its_file_holds(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b") != digest_of(tmp_path / "c")


def test_tensors_and_states_of_networks() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    before = digest_of(dict(layer.state_dict()))
    with torch.no_grad():
        layer.bias[0] += 1
    assert digest_of(dict(layer.state_dict())) != before


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot tell what identifies a object"):
        digest_of(object())
