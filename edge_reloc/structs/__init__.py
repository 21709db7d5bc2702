"""What flows between the stages, and what comes of it."""

from .buffers import Candidates, Correspondences, Features
from .frame import Frame
from .localized import Clock, Localization, Work
from .pose_estimate import Evidence, PoseEstimate, State, Status

__all__ = [
    "Candidates",
    "Clock",
    "Correspondences",
    "Evidence",
    "Features",
    "Frame",
    "Localization",
    "PoseEstimate",
    "State",
    "Status",
    "Work",
]
