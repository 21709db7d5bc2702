"""The demo, opened once for all contracts."""

from __future__ import annotations

import pytest
from demo_stages import Demo, open_demo


@pytest.fixture(scope="session")
def demo() -> Demo:
    """Map, camera and one frame of the demo."""
    return open_demo()
