"""What the pixels of a frame alone show to be wrong, on a coarse grid of them.

The bounds lie well outside of what mapping photos show (kitchen, caliterra, herz_jesus, fox and
the demo's courtyard, 200 photos): the brightest hundredth of their pixels is 118 at least, and
at most 11 % are white. For blur no bound held on all five: the variance of the Laplacian runs
from 15 to 470 among photos that are sharp.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..arrays import U8
from ..reasons import Fault, Reason

SAMPLES = 160 * 120  # pixels looked at, about
DARKEST = 40  # grey: no hundredth of a usable image is darker at its brightest
BRIGHT_SHARE = 0.01
WHITE, WHITE_SHARE = 250, 0.5
#: repeats in a row; a still scene compressed to 300 kbit/s repeated itself five times at most
REPEATS = 8


class FrameFaults:
    """Looks at the frames of one source in turn.

    frozen: whether repeats are a fault: of a camera they are, of files not.
    """

    def __init__(self, *, frozen: bool) -> None:
        self._frozen = frozen
        self._before: U8 | None = None
        self._repeats = 0
        self._still_since_ns = 0
        self._fault: Fault | None = None

    def look(self, image: U8, t_ns: int) -> Fault | None:
        """What is wrong with an image (H,W) or (H,W,3), None for nothing."""
        seen = _coarse(image)
        found = self._repeated(seen, t_ns) if self._frozen else None
        found = found or _exposure(seen, t_ns)
        if found and self._fault and found.reason is self._fault.reason:
            return self._fault  # the same one, since it began
        self._fault = found
        return found

    def _repeated(self, seen: U8, t_ns: int) -> Fault | None:
        before, self._before = self._before, seen
        if before is None or not np.array_equal(before, seen):
            self._repeats, self._still_since_ns = 0, t_ns
            return None
        self._repeats += 1
        if self._repeats < REPEATS:
            return None
        text = f"the camera repeats one image ({self._repeats} times so far)"
        return Fault(reason=Reason.FROZEN, text=text, since_ns=self._still_since_ns)


def _coarse(image: U8) -> U8:
    """Every so manieth pixel of the grey image, or of its green channel, (h,w)."""
    grey = image if image.ndim == 2 else image[:, :, 1]
    step = max(1, round((grey.size / SAMPLES) ** 0.5))
    return np.ascontiguousarray(grey[step // 2 :: step, step // 2 :: step])


def _exposure(seen: U8, t_ns: int) -> Fault | None:
    counts = cv2.calcHist([seen], [0], None, [256], [0, 256])[:, 0]
    bright = float(counts[DARKEST + 1 :].sum()) / seen.size
    if bright < BRIGHT_SHARE:
        text = f"dark: {1 - bright:.1%} of the image is below grey {DARKEST + 1} of 255"
        return Fault(reason=Reason.DARK, text=text, since_ns=t_ns)
    white = float(counts[WHITE:].sum()) / seen.size
    if white > WHITE_SHARE:
        text = f"overexposed: {white:.0%} of the image is white"
        return Fault(reason=Reason.OVEREXPOSED, text=text, since_ns=t_ns)
    return None
