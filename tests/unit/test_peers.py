"""Adapters of other systems: their parts of our own, and what they say when one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.peers.deformable import deform_conv2d, torchvision_or_stand_in

EXACT = 1e-4  # of sums of float32


def naive(image, offset, weight, bias, stride, padding, dilation, mask):  # type: ignore[no-untyped-def]
    """Every output by its definition, one multiplication after another."""
    outputs, per_group, rows, columns = weight.shape
    channels, height, width = image.shape[1:]
    groups = offset.shape[1] // (2 * rows * columns)
    found = torch.zeros(len(image), outputs, *offset.shape[-2:])

    def pixel(b: int, c: int, y: int, x: int) -> float:
        inside = 0 <= y < height and 0 <= x < width
        return float(image[b, c, y, x]) if inside else 0.0

    for b, o, v, u in torch.cartesian_prod(*[torch.arange(n) for n in found.shape]).tolist():
        total = float(bias[o])
        for k in range(per_group):
            c = o // (outputs // (channels // per_group)) * per_group + k
            group = c // (channels // groups)
            for tap in range(rows * columns):
                place = group * rows * columns + tap
                y = v * stride - padding + tap // columns * dilation
                x = u * stride - padding + tap % columns * dilation
                y += float(offset[b, 2 * place, v, u])
                x += float(offset[b, 2 * place + 1, v, u])
                y0, x0 = int(y // 1), int(x // 1)
                near = (
                    (1 - y + y0) * (1 - x + x0) * pixel(b, c, y0, x0)
                    + (1 - y + y0) * (x - x0) * pixel(b, c, y0, x0 + 1)
                    + (y - y0) * (1 - x + x0) * pixel(b, c, y0 + 1, x0)
                    + (y - y0) * (x - x0) * pixel(b, c, y0 + 1, x0 + 1)
                )
                of_tap = float(weight[o, k, tap // columns, tap % columns])
                total += of_tap * near * float(mask[b, place, v, u])
        found[b, o, v, u] = total
    return found


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "offset_groups"),
    [(1, 1, 1, 1, 1), (2, 0, 1, 2, 1), (1, 2, 2, 1, 2)],
)
def test_deformable_convolution_is_its_definition(
    stride: int, padding: int, dilation: int, groups: int, offset_groups: int
) -> None:
    generator = torch.Generator().manual_seed(3)

    def some(*shape: int):  # type: ignore[no-untyped-def]
        return torch.randn(shape, generator=generator)

    image, weight, bias = some(2, 4, 6, 7), some(2, 4 // groups, 3, 3), some(2)
    size = [(n + 2 * padding - 2 * dilation - 1) // stride + 1 for n in (6, 7)]
    offset = 2 * some(2, 2 * offset_groups * 9, *size)  # many of them leave the image
    mask = torch.sigmoid(some(2, offset_groups * 9, *size))
    found = deform_conv2d(image, offset, weight, bias, (stride, stride), padding, dilation, mask)
    expected = naive(image, offset, weight, bias, stride, padding, dilation, mask)
    assert (found - expected).abs().max() < EXACT
    # Without offsets it is the convolution that everybody knows.
    plain = deform_conv2d(image, 0 * offset, weight, bias, stride, padding, dilation)
    known = torch.nn.functional.conv2d(image, weight, bias, stride, padding, dilation, groups)
    assert (plain - known).abs().max() < EXACT


def test_the_stand_in_for_torchvision_is_gone_afterwards() -> None:
    with torchvision_or_stand_in() as is_ours:
        import torchvision

        assert torchvision.models.resnet.conv3x3(2, 3)(torch.zeros(1, 2, 5, 6)).shape[1:] == (
            3, 5, 6,
        )  # fmt: skip
        assert torchvision.ops.deform_conv2d is deform_conv2d or not is_ours
    assert ("torchvision" in sys.modules) is not is_ours
