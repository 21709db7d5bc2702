"""No candidates: for methods whose networks hold the map."""

from __future__ import annotations

from ..structs import Candidates, Features


class NothingRetriever:
    """Leaves the candidates empty."""

    def retrieve(self, features: Features, out: Candidates) -> None:
        """No candidates."""
        out.clear()
