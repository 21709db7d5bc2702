"""Standard output: the lines of `poses.jsonl`, for a pipe."""

from __future__ import annotations

import json
import sys

from ..errors import ConfigError, SinkError
from ..structs import PoseEstimate
from .facts import RunFacts


class StdoutSink:
    """Writes a line a frame and hands it on at once. rest: nothing."""

    def __init__(self, rest: str, facts: RunFacts) -> None:
        if rest:
            raise ConfigError(f"-{rest}: standard output has no option but rate")

    def write(self, estimate: PoseEstimate) -> None:
        line = json.dumps(estimate.to_json(), allow_nan=False)
        try:
            sys.stdout.buffer.write(line.encode() + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise SinkError("-: whoever read standard output has gone") from None
        except OSError as error:
            raise SinkError(f"-: standard output cannot be written ({error.strerror})") from error

    def close(self) -> None: ...
