"""Hypothesis strategies: the graph of one operator in random shapes, parameters and grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from edgecnn.integer_graph import IntegerGraph
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.windows import output_size
from tests.ops.single import convolution, single

zero_points = st.integers(0, 255)
steps = st.tuples(st.integers(1, 3), st.integers(1, 3))
sides = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def grids(draw, low: float = -8.0, high: float = 1.0) -> QuantParams:
    """A per-tensor grid whose scale is any float32 between two powers of two."""
    return QuantParams.per_tensor(2.0 ** draw(st.floats(low, high)), draw(zero_points))


@st.composite
def maps(draw, channels: int | None = None) -> TensorSpec:
    """A map (N, C, H, W) called x."""
    shape = (draw(st.integers(1, 2)), channels or draw(st.integers(1, 6)), *draw(sides))
    return TensorSpec("x", shape, "uint8", draw(grids()))


@st.composite
def tensors(draw, minimum: int = 1) -> TensorSpec:
    """A tensor of rank ``minimum`` to 4 called x."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=minimum, max_size=4)))
    return TensorSpec("x", shape, "uint8", draw(grids()))


def pads_for(draw, kernel: Sequence[int]) -> tuple[int, ...]:
    height, width = (st.integers(0, size - 1) for size in kernel)
    return draw(height), draw(width), draw(height), draw(width)


def spatial(x: TensorSpec, kernel, strides, pads, dilations=(1, 1)) -> list[int]:
    sizes = [output_size(x.shape[2 + i], kernel[i], strides[i], pads[i], pads[i + 2], dilations[i]) for i in (0, 1)]
    assume(min(sizes) >= 1)
    return sizes


def weights(draw, shape: Sequence[int], axis: int, outputs: int):
    """Draw int8 weights, int32 biases and one scale per slice of ``axis``."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-5000, 5000, outputs).astype(np.int32)
    return weight, bias, rng.uniform(0.002, 0.03, shape[axis]).astype(np.float32)


def sum_grid(draw, x: TensorSpec, terms: int) -> QuantParams:
    """A grid that sums of so many products mostly do not saturate."""
    spread = x.grid.scale[0] * 0.016 * 75 * 75 * np.sqrt(terms)
    return QuantParams.per_tensor(float(spread / draw(st.floats(20, 100))), draw(zero_points))


@st.composite
def conv(draw) -> IntegerGraph:
    group, per_group = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 3))
    channels = draw(st.integers(1, 4)) if group == 1 else per_group
    kernel, strides, dilations = draw(st.tuples(st.integers(1, 5), st.integers(1, 5))), draw(steps), draw(steps)
    x = draw(maps(group * channels))
    pads = pads_for(draw, kernel)
    sizes = spatial(x, kernel, strides, pads, dilations)
    outputs = group * draw(st.integers(1, 3))
    shape = (outputs, channels, *kernel)
    grid = sum_grid(draw, x, channels * kernel[0] * kernel[1])
    y = TensorSpec("y", (x.shape[0], outputs, *sizes), "uint8", grid)
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    return convolution("Conv", x, *weights(draw, shape, 0, outputs), y, **attributes)


@st.composite
def conv_transpose(draw) -> IntegerGraph:
    x = draw(maps())
    channels, depthwise = x.shape[1], draw(st.booleans())
    per_group = 1 if depthwise else draw(st.integers(1, 4))
    outputs = channels if depthwise else per_group
    kernel, strides, dilations = draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), draw(steps), draw(steps)
    extra = tuple(draw(st.integers(0, stride - 1)) for stride in strides)
    pads = pads_for(draw, kernel)
    sizes = [
        (x.shape[2 + i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 + extra[i] - pads[i] - pads[i + 2]
        for i in (0, 1)
    ]
    assume(min(sizes) >= 1)
    weight, bias, scales = weights(draw, (channels, per_group, *kernel), 1, outputs)
    y = TensorSpec("y", (x.shape[0], outputs, *sizes), "uint8", sum_grid(draw, x, 2 * channels))
    attributes = {"strides": strides, "pads": pads, "output_padding": extra, "dilations": dilations}
    group = channels if depthwise else 1
    return convolution("ConvTranspose", x, weight, bias, scales, y, group=group, **attributes)


@st.composite
def gemm(draw) -> IntegerGraph:
    shape = (*draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)), draw(st.integers(1, 40)))
    x, outputs = TensorSpec("x", shape, "uint8", draw(grids())), draw(st.integers(1, 8))
    y = TensorSpec("y", (*shape[:-1], outputs), "uint8", sum_grid(draw, x, shape[-1]))
    return convolution("Gemm", x, *weights(draw, (outputs, shape[-1]), 0, outputs), y)


def elementwise(op: str):
    @st.composite
    def build(draw) -> IntegerGraph:
        a = draw(tensors(0))
        # Numpy broadcasting: any axis of b may be 1, leading axes may be missing.
        sizes = [1 if draw(st.booleans()) else size for size in a.shape]
        b = TensorSpec("b", tuple(sizes[draw(st.integers(0, len(sizes))) :]), "uint8", draw(grids()))
        s_a, s_b = a.grid.scale[0], b.grid.scale[0]
        span = 60 * s_a * s_b if op == "Mul" else s_a + s_b
        grid = QuantParams.per_tensor(span * draw(st.floats(0.5, 3)), draw(zero_points))
        y = TensorSpec("y", a.shape, "uint8", grid)
        constants = {}
        if draw(st.booleans()):
            rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
            constants = {"b": rng.integers(0, 256, b.shape, dtype=np.uint8)}
        pair = (a, b) if draw(st.booleans()) else (b, a)
        return single(op, pair, y, constants)

    return build()


@st.composite
def concat(draw) -> IntegerGraph:
    x = draw(tensors())
    axis = draw(st.integers(0, len(x.shape) - 1))
    widths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    parts = [
        TensorSpec(f"x{index}", (*x.shape[:axis], width, *x.shape[axis + 1 :]), "uint8", x.quant)
        for index, width in enumerate(widths)
    ]
    y = TensorSpec("y", (*x.shape[:axis], sum(widths), *x.shape[axis + 1 :]), "uint8", x.quant)
    return single("Concat", parts, y, axis=axis)


@st.composite
def cut(draw) -> IntegerGraph:
    x = draw(tensors())
    starts = tuple(draw(st.integers(0, size - 1)) for size in x.shape)
    ends = tuple(draw(st.integers(start + 1, size)) for start, size in zip(starts, x.shape, strict=True))
    strides = tuple(draw(st.integers(1, 3)) for _ in x.shape)
    shape = tuple(len(range(*bounds)) for bounds in zip(starts, ends, strides, strict=True))
    y = TensorSpec("y", shape, "uint8", x.quant)
    return single("Slice", (x,), y, starts=starts, ends=ends, steps=strides)


def pool(op: str):
    @st.composite
    def build(draw) -> IntegerGraph:
        x, kernel, strides = draw(maps()), draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), draw(steps)
        pads = pads_for(draw, kernel)
        sizes = spatial(x, kernel, strides, pads)
        # A window that lies in the padding alone has no meaning.
        assume(all((size - 1) * strides[i] - pads[i] < x.shape[2 + i] for i, size in enumerate(sizes)))
        y = TensorSpec("y", (*x.shape[:2], *sizes), "uint8", x.quant)
        return single(op, (x,), y, kernel=kernel, strides=strides, pads=pads)

    return build()


def reduction(op: str):
    @st.composite
    def build(draw) -> IntegerGraph:
        x = draw(tensors())
        axes = tuple(sorted(draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1))))
        keep = draw(st.booleans())
        sizes = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        shape = tuple(size for axis, size in enumerate(sizes) if keep or axis not in axes)
        grid = x.grid
        if op == "ReduceMean":
            grid = QuantParams.per_tensor(grid.scale[0] * draw(st.floats(0.2, 2)), draw(zero_points))
        y = TensorSpec("y", shape, "uint8", grid)
        return single(op, (x,), y, axes=axes, keepdims=int(keep))

    return build()


def resize(mode: str):
    @st.composite
    def build(draw) -> IntegerGraph:
        x, sizes = draw(maps()), draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
        y = TensorSpec("y", (*x.shape[:2], *sizes), "uint8", x.quant)
        coordinates = draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners"]))
        rounding = draw(st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]))
        return single("Resize", (x,), y, sizes=sizes, mode=mode, coordinates=coordinates, rounding=rounding)

    return build()


@st.composite
def clip(draw) -> IntegerGraph:
    x = draw(tensors())
    low, high = sorted(draw(st.tuples(zero_points, zero_points)))
    return single("Clip", (x,), TensorSpec("y", x.shape, "uint8", x.quant), low=low, high=high)


@st.composite
def requantize(draw) -> IntegerGraph:
    x = draw(tensors(0))
    grid = QuantParams.per_tensor(x.grid.scale[0] * 2 ** draw(st.floats(-2, 2)), draw(zero_points))
    return single("Requantize", (x,), TensorSpec("y", x.shape, "uint8", grid))


@st.composite
def leaky_relu(draw) -> IntegerGraph:
    x, alpha = draw(tensors()), draw(st.floats(0.001, 0.9))
    grid = QuantParams.per_tensor(x.grid.scale[0] * 2 ** draw(st.floats(-1, 1)), draw(zero_points))
    return single("LeakyRelu", (x,), TensorSpec("y", x.shape, "uint8", grid), alpha=alpha)


@st.composite
def p_relu(draw) -> IntegerGraph:
    x = draw(maps())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slope = rng.integers(-127, 128, (x.shape[1], 1, 1) if draw(st.booleans()) else (1, 1, 1)).astype(np.int8)
    grid = QuantParams.per_tensor(x.grid.scale[0] * 2 ** draw(st.floats(-1, 1)), draw(zero_points))
    slopes = TensorSpec("slope", slope.shape, "int8", QuantParams.per_tensor(draw(st.floats(0.001, 0.02))))
    return single("PRelu", (x, slopes), TensorSpec("y", x.shape, "uint8", grid), {"slope": slope})


def fixed(op: str, scale: float, zero_point: int = 0):
    @st.composite
    def build(draw) -> IntegerGraph:
        x = draw(tensors())
        attributes = {"axis": draw(st.integers(0, len(x.shape) - 1))} if op == "Softmax" else {}
        y = TensorSpec("y", x.shape, "uint8", QuantParams.per_tensor(scale, zero_point))
        return single(op, (x,), y, **attributes)

    return build()


@st.composite
def pad(draw) -> IntegerGraph:
    x, mode = draw(tensors()), draw(st.sampled_from(["constant", "reflect", "edge"]))
    limits = [size - 1 if mode == "reflect" else 3 for size in x.shape] * 2
    pads = tuple(draw(st.integers(0, limit)) for limit in limits)
    rank = len(x.shape)
    shape = tuple(size + pads[axis] + pads[axis + rank] for axis, size in enumerate(x.shape))
    return single("Pad", (x,), TensorSpec("y", shape, "uint8", x.quant), pads=pads, mode=mode, value=draw(zero_points))


@st.composite
def reshape(draw) -> IntegerGraph:
    x = draw(tensors())
    size = int(np.prod(x.shape))
    first = draw(st.sampled_from([item for item in range(1, size + 1) if size % item == 0]))
    shape = draw(st.sampled_from([(size,), (first, size // first), (1, first, size // first, 1)]))
    return single("Reshape", (x,), TensorSpec("y", shape, "uint8", x.quant), shape=shape)


@st.composite
def transpose(draw) -> IntegerGraph:
    x = draw(tensors())
    perm = tuple(draw(st.permutations(range(len(x.shape)))))
    y = TensorSpec("y", tuple(x.shape[axis] for axis in perm), "uint8", x.quant)
    return single("Transpose", (x,), y, perm=perm)


@st.composite
def depth_to_space(draw) -> IntegerGraph:
    block, depth = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x = draw(maps(depth * block**2))
    batch, _, height, width = x.shape
    y = TensorSpec("y", (batch, depth, height * block, width * block), "uint8", x.quant)
    return single("DepthToSpace", (x,), y, blocksize=block, mode=draw(st.sampled_from(["DCR", "CRD"])))


@st.composite
def arg_max(draw) -> IntegerGraph:
    x = draw(tensors())
    axis, keep = draw(st.integers(0, len(x.shape) - 1)), draw(st.booleans())
    shape = (*x.shape[:axis], *((1,) if keep else ()), *x.shape[axis + 1 :])
    return single("ArgMax", (x,), TensorSpec("y", shape, "int64"), axis=axis, keepdims=int(keep))


ROUNDS = {
    "Conv": conv(),
    "ConvTranspose": conv_transpose(),
    "Gemm": gemm(),
    "Add": elementwise("Add"),
    "Sub": elementwise("Sub"),
    "Mul": elementwise("Mul"),
    "AveragePool": pool("AveragePool"),
    "ReduceMean": reduction("ReduceMean"),
    "Resize": resize("linear"),
    "Requantize": requantize(),
    "LeakyRelu": leaky_relu(),
    "PRelu": p_relu(),
    "Sigmoid": fixed("Sigmoid", 1 / 256),
    "Tanh": fixed("Tanh", 1 / 128, 128),
    "Softmax": fixed("Softmax", 1 / 256),
}

MOVES = {
    "Concat": concat(),
    "Slice": cut(),
    "MaxPool": pool("MaxPool"),
    "ReduceMax": reduction("ReduceMax"),
    "Resize": resize("nearest"),
    "Clip": clip(),
    "Pad": pad(),
    "Reshape": reshape(),
    "Transpose": transpose(),
    "DepthToSpace": depth_to_space(),
    "ArgMax": arg_max(),
}
