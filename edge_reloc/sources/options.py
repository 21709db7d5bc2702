"""What a camera is asked for; what it then gives is told by the source."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError

DEFAULT_RATE_HZ = 30.0
DEFAULT_SIZE = (640, 480)


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """Asked of a camera; a stream or a file is as it is."""

    #: (width, height) pixels, None for those of the calibration
    size: tuple[int, int] | None = None
    #: frames a second
    rate_hz: float | None = None
    #: four letters of V4L2, such as YUYV, GREY, NV12, MJPG; None for what costs least
    pixel_format: str | None = None
    #: fixed; None leaves it to the camera
    exposure_ms: float | None = None
    #: in the camera's own units; None leaves it to the camera
    gain: float | None = None
    #: fixed, in the camera's own units; None leaves it to the camera
    focus: float | None = None
    #: autofocus off, the lens staying where it is
    hold_focus: bool = False

    def __post_init__(self) -> None:
        positive = {"rate_hz": self.rate_hz, "exposure_ms": self.exposure_ms}
        for name, value in positive.items():
            if value is not None and not 0 < value <= 1e6:
                raise ConfigError(f"camera {name}: found {value}, expected above 0")
        if self.size is not None and not all(16 <= side <= 1 << 16 for side in self.size):
            raise ConfigError(f"camera size: found {self.size}, expected sides of 16 to 65536")
        if self.pixel_format is not None and not 1 <= len(self.pixel_format) <= 4:
            raise ConfigError(
                f"camera format: found '{self.pixel_format}', expected four letters such as YUYV"
            )

    @property
    def asked(self) -> bool:
        """Whether anything is asked for."""
        return self != CameraOptions()
