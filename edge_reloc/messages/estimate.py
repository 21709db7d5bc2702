"""Messages of our own: what became of a frame, and what the process holds."""

from __future__ import annotations

from typing import Any

from ..structs import PoseEstimate
from .channel import INTEGER, NUMBER, TEXT, Channel, lists, numbers, objects

_FLAG, _MATRIX = {"type": "boolean"}, lists(numbers())
ESTIMATE = Channel(
    topic="/edge_reloc/estimate",
    # Also null, but for the two that are required: what plots by a schema knows one type a field.
    schema=objects(
        "edge_reloc.PoseEstimate",
        ("frame", "status"),
        **dict.fromkeys(("name", "status", "reason", "state", "state_reason", "camera"), TEXT),
        **dict.fromkeys(("frame", "t_ns", "received_ns", "reset_counter"), INTEGER),
        **dict.fromkeys(("inliers", "matches", "candidates", "keypoints"), INTEGER),
        **dict.fromkeys(("propagated", "tracked", "refined"), _FLAG),
        **dict.fromkeys(("age_ms", "p_right", "hpl_m", "vpl_m", "ypl_deg"), NUMBER),
        **dict.fromkeys(("cam_from_world", "body_from_world", "covariance"), _MATRIX),
        stages_ms={"type": "object", "additionalProperties": NUMBER},
    ),
)
PROCESS = Channel(topic="/edge_reloc/process", schema=objects("edge_reloc.Process", rss_mb=NUMBER))


def estimate_message(estimate: PoseEstimate) -> dict[str, Any]:
    """The line of `poses.jsonl`, and counts that it leaves out."""
    return {
        **estimate.to_json(),
        "keypoints": estimate.keypoints,
        "matches": estimate.matches,
        "refined": estimate.refined,
    }


def process_message(rss_bytes: int) -> dict[str, Any]:
    """Memory of this process, as the system counts it."""
    return {"rss_mb": rss_bytes / 1e6}
