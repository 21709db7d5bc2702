"""The operators that a network may use, each with the shape of what it gives.

What has no rule here is refused: control flow, whatever makes shapes out of data, and
operators of other makers. With every shape known beforehand, so is the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Any

import numpy as np

from .onnx_file import ELEMENTS, Layer, Value

Shape = tuple[int, ...]
#: values that a layer takes (None for one that it does without) to those that it gives;
#: ValueError, IndexError, TypeError or AttributeError where they do not fit
Rule = Callable[[Layer, Sequence["Value | None"]], "tuple[Value, ...]"]


def _value(inputs: Sequence[Value | None], index: int) -> Value:
    value = inputs[index]
    if value is None:
        raise ValueError(f"has no input {index}")
    return value


def _integers(inputs: Sequence[Value | None], index: int) -> tuple[int, ...]:
    """Numbers of an input that must stand in the file."""
    constant = _value(inputs, index).constant
    if constant is None:
        raise ValueError(f"input {index} makes a shape and is no constant")
    return tuple(int(number) for number in constant)


def _has(inputs: Sequence[Value | None], index: int) -> bool:
    return len(inputs) > index and inputs[index] is not None


def _ints(layer: Layer, name: str, default: Shape) -> Shape:
    value: Any = layer.attributes.get(name, default)
    return tuple(value)


def _int(layer: Layer, name: str, default: int) -> int:
    value: Any = layer.attributes.get(name, default)
    return int(value)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"has no axis {axis}")
    return axis % rank


def _broadcast(*shapes: Shape) -> Shape:
    """NumPy's rule."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    found = []
    for sizes in zip(*padded, strict=True):
        others = {size for size in sizes if size != 1}
        if len(others) > 1:
            raise ValueError(f"cannot broadcast {shapes}")
        found.append(others.pop() if others else 1)
    return tuple(found)


def _same(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    return (Value(value.dtype, value.shape),)


def _cast(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    return (Value(ELEMENTS[_int(layer, "to", 0)], _value(inputs, 0).shape),)


def _elementwise(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    values = [_value(inputs, index) for index in range(len(inputs))]
    return (Value(values[0].dtype, _broadcast(*(value.shape for value in values))),)


def _compare(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    return (Value("bool", _elementwise(layer, inputs)[0].shape),)


def _where(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    return (Value(_value(inputs, 1).dtype, _elementwise(layer, inputs)[0].shape),)


def _matmul(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    left, right = _value(inputs, 0), _value(inputs, 1)
    (*batch, rows, inner), (*other, depth, columns) = left.shape, right.shape
    if inner != depth:
        raise ValueError(f"multiplies {left.shape} with {right.shape}")
    return (Value(left.dtype, (*_broadcast(tuple(batch), tuple(other)), rows, columns)),)


def _gemm(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    left, right = _value(inputs, 0), _value(inputs, 1)
    (rows, inner), (depth, columns) = left.shape, right.shape
    if _int(layer, "transA", 0):
        rows, inner = inner, rows
    if _int(layer, "transB", 0):
        depth, columns = columns, depth
    if inner != depth:
        raise ValueError(f"multiplies {left.shape} with {right.shape}")
    return (Value(left.dtype, (rows, columns)),)


def _slid(layer: Layer, sizes: Shape, kernel: Shape) -> Shape:
    """Sizes after a window has slid over them."""
    count = len(sizes)
    if layer.attributes.get("auto_pad", "NOTSET") != "NOTSET" or len(kernel) != count:
        raise ValueError("pads by itself, expected pads")
    strides, dilations = (
        _ints(layer, "strides", (1,) * count),
        _ints(layer, "dilations", (1,) * count),
    )
    pads = _ints(layer, "pads", (0,) * (2 * count))
    if min(*strides, *dilations, *kernel, 1) < 1 or min(*pads, 0) < 0 or len(pads) != 2 * count:
        raise ValueError("has windows, steps or pads below what they can be")
    more = _int(layer, "ceil_mode", 0)
    found = []
    for n, size in enumerate(sizes):
        room = size + pads[n] + pads[n + count] - dilations[n] * (kernel[n] - 1) - 1
        found.append((room + more * (strides[n] - 1)) // strides[n] + 1)
    return tuple(found)


def _conv(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, weight = _value(inputs, 0), _value(inputs, 1)
    batch, channels, *sizes = value.shape
    if channels != weight.shape[1] * _int(layer, "group", 1):
        raise ValueError(f"takes {value.shape} with weights {weight.shape}")
    if len(sizes) > 2:  # engines unfold it in memory of which nothing is known here
        raise ValueError(f"slides over {len(sizes)} axes, expected one or two")
    slid = _slid(layer, tuple(sizes), weight.shape[2:])
    return (Value(value.dtype, (batch, weight.shape[0], *slid)),)


def _pool(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    slid = _slid(layer, value.shape[2:], _ints(layer, "kernel_shape", ()))
    return (Value(value.dtype, (*value.shape[:2], *slid)),)


def _resize(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    if layer.attributes.keys() & {"axes"} or _has(inputs, 1):
        raise ValueError("resizes some axes or a region only")
    if layer.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ValueError("chooses its size by itself, expected the one that it is given")
    if _has(inputs, 3):
        return (Value(value.dtype, _integers(inputs, 3)),)
    scales = _value(inputs, 2).constant
    if scales is None or len(scales) != len(value.shape):
        raise ValueError("has no scales")
    # In float32, as engines multiply: one more or less may come out in float64.
    exact = np.array(value.shape, np.float32) * np.array(scales, np.float32)
    return (Value(value.dtype, tuple(floor(size) for size in exact)),)


def _reshape(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, wanted = _value(inputs, 0), list(_integers(inputs, 1))
    if not _int(layer, "allowzero", 0):
        wanted = [value.shape[n] if size == 0 else size for n, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = -Value("bool", tuple(wanted)).size
        wanted[wanted.index(-1)] = value.size // rest if rest > 0 else 0
    if Value("bool", tuple(wanted)).size != value.size:
        raise ValueError(f"cannot make {tuple(wanted)} of {value.shape}")
    return (Value(value.dtype, tuple(wanted)),)


def _transpose(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    order = _ints(layer, "perm", tuple(range(len(value.shape)))[::-1])
    if sorted(order) != list(range(len(value.shape))):
        raise ValueError(f"has the order {order} of axes")
    return (Value(value.dtype, tuple(value.shape[n] for n in order)),)


def _concat(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    values = [_value(inputs, index) for index in range(len(inputs))]
    shape = list(values[0].shape)
    axis = _axis(_int(layer, "axis", 0), len(shape))
    rest = {(*value.shape[:axis], *value.shape[axis + 1 :]) for value in values}
    if len(rest) != 1:
        raise ValueError("joins what differs along other axes")
    shape[axis] = sum(value.shape[axis] for value in values)
    return (Value(values[0].dtype, tuple(shape)),)


def _split(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, parts = _value(inputs, 0), len(layer.outputs)
    if parts == 0:
        raise ValueError("splits into nothing")
    axis = _axis(_int(layer, "axis", 0), len(value.shape))
    size = value.shape[axis]
    each = -(-size // parts)
    sizes: Sequence[int] = [min(each, size - each * n) for n in range(parts)]
    if _has(inputs, 1):
        sizes = _integers(inputs, 1)
    if sum(sizes) != size or len(sizes) != parts or min(sizes) < 0:
        raise ValueError(f"splits {size} into {tuple(sizes)}")
    before, after = value.shape[:axis], value.shape[axis + 1 :]
    return tuple(Value(value.dtype, (*before, part, *after)) for part in sizes)


def _slice(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    starts, ends = _integers(inputs, 1), _integers(inputs, 2)
    axes = _integers(inputs, 3) if _has(inputs, 3) else tuple(range(len(starts)))
    steps = _integers(inputs, 4) if _has(inputs, 4) else (1,) * len(starts)
    shape = list(value.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise ValueError("slices backwards")
        n = _axis(axis, len(shape))
        shape[n] = len(range(*slice(start, end, step).indices(value.shape[n])))
    return (Value(value.dtype, tuple(shape)),)


def _gather(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, index = _value(inputs, 0), _value(inputs, 1)
    axis = _axis(_int(layer, "axis", 0), len(value.shape))
    return (Value(value.dtype, (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])),)


def _squeeze(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    axes = {_axis(axis, len(value.shape)) for axis in _integers(inputs, 1)}
    if any(value.shape[axis] != 1 for axis in axes):
        raise ValueError(f"squeezes axes {sorted(axes)} of {value.shape}")
    return (Value(value.dtype, tuple(s for n, s in enumerate(value.shape) if n not in axes)),)


def _unsqueeze(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, axes = _value(inputs, 0), _integers(inputs, 1)
    rank = len(value.shape) + len(axes)
    added = {_axis(axis, rank) for axis in axes}
    rest = iter(value.shape)
    if len(added) != len(axes):
        raise ValueError(f"adds axes {axes}")
    return (Value(value.dtype, tuple(1 if n in added else next(rest) for n in range(rank))),)


def _reduce(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    rank = len(value.shape)
    # Up to opset 17 most take axes as an attribute, from 18 on all as an input.
    named = _integers(inputs, 1) if _has(inputs, 1) else _ints(layer, "axes", ())
    if not named and _int(layer, "noop_with_empty_axes", 0):
        raise ValueError("names no axes, so as to do nothing")
    axes = {_axis(axis, rank) for axis in named} or set(range(rank))
    return (Value(value.dtype, _without(layer, value.shape, axes)),)


def _arg(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    shape = _value(inputs, 0).shape
    axis = _axis(_int(layer, "axis", 0), len(shape))
    return (Value("int64", _without(layer, shape, (axis,))),)


def _without(layer: Layer, shape: Shape, axes: Any) -> Shape:
    if _int(layer, "keepdims", 1):
        return tuple(1 if n in axes else size for n, size in enumerate(shape))
    return tuple(size for n, size in enumerate(shape) if n not in axes)


def _topk(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, (count,) = _value(inputs, 0), _integers(inputs, 1)
    axis = _axis(_int(layer, "axis", -1), len(value.shape))
    if not 0 < count <= value.shape[axis]:
        raise ValueError(f"takes the best {count} of {value.shape[axis]}")
    shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
    return Value(value.dtype, shape), Value("int64", shape)


def _pad(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, pads = _value(inputs, 0), _integers(inputs, 1)
    rank = len(value.shape)
    if len(pads) != 2 * rank or _has(inputs, 3):
        raise ValueError(f"pads {value.shape} by {pads}")
    shape = (size + pads[n] + pads[n + rank] for n, size in enumerate(value.shape))
    return (Value(value.dtype, tuple(shape)),)


def _expand(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = _value(inputs, 0)
    return (Value(value.dtype, _broadcast(value.shape, _integers(inputs, 1))),)


def _depth_to_space(layer: Layer, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value, block = _value(inputs, 0), _int(layer, "blocksize", 0)
    batch, channels, height, width = value.shape
    if block < 1 or channels % (block * block):
        raise ValueError(f"makes blocks of {block} from {channels} channels")
    shape = (batch, channels // (block * block), height * block, width * block)
    return (Value(value.dtype, shape),)


def _of(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


#: The white-list: what the networks of every kind of features, embedding and method use, and
#: operators that follow the rule of one of these.
OPERATORS: dict[str, Rule] = {
    **_of(_same, "Abs Clip Erf Exp Floor Identity LeakyRelu Log Neg Reciprocal Relu Sigmoid"),
    **_of(_same, "Softmax Softplus Sqrt Tanh"),
    **_of(_same, "BatchNormalization InstanceNormalization LayerNormalization"),
    **_of(_cast, "Cast"),
    **_of(_elementwise, "Add And Div Max Min Mul Or Pow PRelu Sub"),
    **_of(_compare, "Equal Greater GreaterOrEqual Less LessOrEqual"),
    **_of(_where, "Where"),
    **_of(_matmul, "MatMul"),
    **_of(_gemm, "Gemm"),
    **_of(_conv, "Conv"),
    **_of(_pool, "AveragePool MaxPool"),
    **_of(_resize, "Resize"),
    **_of(_reshape, "Reshape"),
    **_of(_transpose, "Transpose"),
    **_of(_concat, "Concat"),
    **_of(_split, "Split"),
    **_of(_slice, "Slice"),
    **_of(_gather, "Gather"),
    **_of(_squeeze, "Squeeze"),
    **_of(_unsqueeze, "Unsqueeze"),
    **_of(_reduce, "ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum"),
    **_of(_arg, "ArgMax"),
    **_of(_topk, "TopK"),
    **_of(_pad, "Pad"),
    **_of(_expand, "Expand"),
    **_of(_depth_to_space, "DepthToSpace"),
}
