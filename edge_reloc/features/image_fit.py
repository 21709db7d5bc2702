"""An image into a network's input: grey, turned, no larger than it, the rest its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from ..arrays import F32, U8


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Sizes in pixels before and after."""

    #: Of the turned image.
    width: int
    height: int
    #: What it became, at the input's upper left.
    fit_width: int
    fit_height: int

    @classmethod
    def of(cls, image: U8, turns: int, net_width: int, net_height: int) -> Fit:
        """The largest that keeps the image's proportions and never enlarges it."""
        height, width = image.shape[:2]
        if turns % 2:
            height, width = width, height
        scale = min(net_width / width, net_height / height, 1.0)
        fit_width, fit_height = round(width * scale), round(height * scale)
        return cls(width=width, height=height, fit_width=fit_width, fit_height=fit_height)


class ImageFitter(Protocol):
    """Puts images into a network's input, on the host or on the GPU."""

    def fit(self, image: U8, turns: int) -> Fit:
        """Fill the network's input from an image (H,W) grey or (H,W,3) BGR.

        turns: quarter turns counter-clockwise.
        """


class FitOnCpu:
    """By OpenCV, into an input (h,w) float32 that lies in host memory."""

    def __init__(self, net_input: F32) -> None:
        self._input = net_input

    def fit(self, image: U8, turns: int) -> Fit:
        if image.ndim == 3:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        net_height, net_width = self._input.shape
        fit = Fit.of(image, turns, net_width, net_height)
        if turns:
            image = np.ascontiguousarray(np.rot90(image, turns))
        size = (fit.fit_width, fit.fit_height)
        if size != (fit.width, fit.height):
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if size != (net_width, net_height):
            # Networks normalise by the image's mean and spread: grey disturbs them least.
            self._input[:] = cv2.mean(image)[0]
        self._input[: fit.fit_height, : fit.fit_width] = image
        return fit
