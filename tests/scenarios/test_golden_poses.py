"""What every method says of the demo stays as it is, to the bit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.golden.demo_poses import FILE, VARIANTS, differences


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text()))


@pytest.mark.parametrize("name", VARIANTS)
def test_poses_of_the_demo_are_those_of_before(name: str, golden: dict[str, Any]) -> None:
    """After a change that is meant to move poses: `python tests/golden/demo_poses.py --write`."""
    assert differences(name, golden) == []
