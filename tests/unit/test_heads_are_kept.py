"""A head that is trained is in the map, whatever becomes of the next one."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edge_reloc_export.training.visible_structure import command, session


class Session:
    """Trains the first head, and is interrupted in the second."""

    written: list[list[str]]

    def __init__(self, *_: object) -> None:
        self.heads: list[str] = []
        Session.written = []

    def train_cells(self, progress: object) -> None:
        self.heads.append("cells")

    def train_generative(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def write(self, *, default_head: str | None = None) -> None:
        self.written.append(list(self.heads))


def test_the_first_head_is_written_before_the_second_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "VisibleStructureSession", Session)
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    options = parser.parse_args([])
    options.map, options.device = tmp_path / "map", "cpu"
    options.preset, options.iterations, options.continued = "quick", None, False
    with pytest.raises(KeyboardInterrupt):
        command.train(options, tmp_path)
    assert Session.written == [["cells"]]
