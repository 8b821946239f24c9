"""Networks for `conformance`: one operator each in a random form, behind a convolution of the frame.

A form is a function of `Net`: it draws shapes and attributes, adds nodes and returns the output's name. The same seed
gives the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
OPSET = 18


class Net:
    """An ONNX model that starts with a 1x1 convolution of a picture with 3 channels.

    Args:
        seed: Of everything random.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels = self.integer(1, 17)
        self.height, self.width = self.integer(5, 14), self.integer(5, 14)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from ``low`` to ``high``, both included."""
        return int(self.random.integers(low, high + 1))

    def pick(self, *choices: Any) -> Any:
        """Draw one of ``choices``."""
        return choices[int(self.random.integers(len(choices)))]

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add an initialiser and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def noise(self, *shape: int) -> str:
        """Add normally distributed weights of a random size."""
        return self.constant(self.random.standard_normal(shape) * 2 ** self.random.uniform(-2, 1))

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def map(self, channels: int = 0) -> str:
        """Add an activation of ``channels`` channels: a convolution of the picture."""
        channels = channels or self.channels
        return self.add("Conv", "image", self.noise(channels, 3, 1, 1), self.noise(channels))

    def vector(self) -> str:
        """Add an activation of rank 2: the mean of a map."""
        return self.add("ReduceMean", self.map(), self.constant([2, 3], np.int64), keepdims=0)

    def model(self, output: str) -> onnx.ModelProto:
        """Return the model whose output is ``output``."""
        shape = [1, 3, self.height, self.width]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        kind = TensorProto.INT64 if self.nodes[-1].op_type == "ArgMax" else TensorProto.FLOAT
        result = helper.make_tensor_value_info(output, kind, None)
        graph = helper.make_graph(self.nodes, "case", [image], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


Form = Callable[[Net], str]


def window(net: Net, largest: int = 5, dilated: bool = True) -> dict[str, list[int]]:
    """Draw kernel, strides, dilations and pads that fit the map."""
    kernel = [net.integer(1, largest), net.integer(1, largest)]
    dilations = [net.pick(1, 1, 2) if dilated and size <= 3 else 1 for size in kernel]
    pads = [net.integer(0, (kernel[axis % 2] - 1) // 2) for axis in range(4)]
    strides = [net.integer(1, 3), net.integer(1, 3)]
    found = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    return {**found, "dilations": dilations} if dilated else found


def convolution(net: Net, kind: str) -> str:
    """Dense, in groups, depthwise or with a channel multiplier."""
    groups, times = net.integer(2, 4), net.integer(2, 3)
    if kind == "groups":
        net.channels = groups * net.integer(1, 4)
    inputs = net.channels
    group = {"dense": 1, "groups": groups}.get(kind, inputs)
    each = net.integer(1, 4)
    outputs = {"dense": net.integer(1, 17), "groups": groups * each, "multiplier": inputs * times}.get(kind, inputs)
    given = window(net)
    weight = net.noise(outputs, inputs // group, *given["kernel_shape"])
    bias = [net.noise(outputs)] if net.pick(True, True, False) else []
    return net.add("Conv", net.map(), weight, *bias, group=group, **given)


def clamped(net: Net) -> str:
    """A convolution with ReLU or ReLU6 behind it, and another one."""
    y = net.add("Conv", net.map(), net.noise(net.channels, net.channels, 3, 3), pads=[1, 1, 1, 1])
    y = net.add("Relu", y) if net.pick(True, False) else net.add("Clip", y, net.constant(0), net.constant(6))
    return net.add("Conv", y, net.noise(net.integer(1, 17), net.channels, 1, 1))


def transposed(net: Net) -> str:
    """ConvTranspose, dense or in groups, cut by pads and extended by output_padding."""
    group = net.pick(1, 1, 2)
    net.channels = group * net.integer(1, 8)
    strides, kernel = [net.integer(1, 3), net.integer(1, 3)], [net.integer(1, 5), net.integer(1, 5)]
    more = [net.integer(0, step - 1) for step in strides]
    pads = [net.integer(0, (kernel[axis % 2] - 1) // 2) for axis in range(4)]
    weight = net.noise(net.channels, net.integer(1, 8), *kernel)
    given = {"strides": strides, "kernel_shape": kernel, "output_padding": more, "pads": pads, "group": group}
    return net.add("ConvTranspose", net.map(), weight, **given)


def gemm(net: Net) -> str:
    """A fully connected layer, spelt as Gemm or MatMul."""
    outputs, x = net.integer(1, 17), net.vector()
    if net.pick(True, False):
        return net.add("Gemm", x, net.noise(outputs, net.channels), net.noise(outputs), transB=1)
    return net.add("MatMul", x, net.noise(net.channels, outputs))


def of_two(net: Net, op: str) -> str:
    """Two activations of one shape, or the second one broadcast."""
    return net.add(op, net.map(), net.map(net.pick(net.channels, net.channels, 1)))


def with_constant(net: Net, op: str, first: bool = False) -> str:
    """An activation and a constant: one value, or one of each channel."""
    constant = net.noise(1) if net.pick(True, False) else net.noise(1, net.channels, 1, 1)
    x = net.map()
    return net.add(op, constant, x) if first else net.add(op, x, constant)


def pool(net: Net, op: str) -> str:
    """A pool, padded or not, that counts its padding or rounds its size up or neither."""
    given: dict[str, Any] = window(net, 4, dilated=False)
    given["strides"] = [min(pair) for pair in zip(given["strides"], given["kernel_shape"], strict=True)]
    counts = op == "AveragePool" and net.pick(True, False)
    more = {"count_include_pad": 1} if counts else {"ceil_mode": net.pick(0, 1)}
    return net.add(op, net.map(), **given, **more)


def reduction(net: Net, op: str) -> str:
    """Over height and width, channels, or one axis."""
    axes = net.pick([2, 3], [2, 3], [1], [2], [3], [1, 2, 3])
    axes_of = [net.constant(axes, np.int64)] if op in ("ReduceMean", "ReduceMax") else []
    return net.add(op, net.map(), *axes_of, keepdims=net.integer(0, 1))


def resize(net: Net, mode: str, coordinates: str, factor: float | None) -> str:
    """To a multiple of the size, or to any size."""
    sizes = [net.height, net.width]
    wanted = [round(size * factor) for size in sizes] if factor else [net.integer(3, 30), net.integer(3, 30)]
    given = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        given["nearest_mode"] = net.pick("floor", "round_prefer_floor", "round_prefer_ceil", "ceil")
    sizes_of = net.constant([1, net.channels, *wanted], np.int64)
    return net.add("Resize", net.map(), "", "", sizes_of, **given)


def slopes(net: Net) -> str:
    """PRelu with a slope for every channel or one for all, of either sign."""
    low, high = net.pick((0, 0.9), (0.5, 3), (-1.5, 0), (-1, 1.5))
    shape = net.pick((net.channels, 1, 1), (1, 1, 1))
    return net.add("PRelu", net.map(), net.constant(net.random.uniform(low, high, shape)))


def curve(net: Net, op: str) -> str:
    """A function of one value; half of them are added to something."""
    y = net.add(op, net.map())
    return net.add("Add", y, net.map()) if net.pick(True, False) else y


def leaky(net: Net) -> str:
    """LeakyRelu."""
    return net.add("LeakyRelu", net.map(), alpha=net.pick(0.01, 0.1, 0.2, 0.3, 1.3))


def clip(net: Net) -> str:
    """Clip between any two bounds around 0."""
    bounds = (-net.random.uniform(0, 2), net.random.uniform(0.1, 4))
    return net.add("Clip", net.map(), *(net.constant(bound) for bound in bounds))


def softmax(net: Net) -> str:
    """Softmax of a vector or of every pixel, of 1 to 17 values."""
    return net.add("Softmax", net.vector() if net.pick(True, False) else net.map(), axis=1)


def arg_max(net: Net) -> str:
    """Index of the largest channel."""
    return net.add("ArgMax", net.map(), axis=1, keepdims=net.integer(0, 1))


def concat(net: Net) -> str:
    """Two maps on grids of their own, along any axis, and a convolution of them."""
    axis = net.integer(1, 3)
    y = net.add("Concat", net.map(), net.add("Sigmoid", net.map()), axis=axis)
    channels = net.channels * 2 if axis == 1 else net.channels
    return net.add("Conv", y, net.noise(net.integer(1, 9), channels, 1, 1))


def cut(net: Net) -> str:
    """Slice with offsets and steps."""
    sizes = (net.channels, net.height, net.width)
    starts = [net.integer(0, (size - 1) // 2) for size in sizes]
    ends = [net.integer(start + 1, size) for start, size in zip(starts, sizes, strict=True)]
    lists = (starts, ends, [1, 2, 3], [1, net.integer(1, 2), net.integer(1, 3)])
    return net.add("Slice", net.map(), *(net.constant(item, np.int64) for item in lists))


def pad(net: Net) -> str:
    """Pad by a value, by repetition or by reflection."""
    mode = net.pick("constant", "constant", "edge", "reflect")
    amounts = [0, 0, net.integer(0, 3), net.integer(0, 3), 0, 0, net.integer(0, 3), net.integer(0, 3)]
    value = [net.constant(net.random.uniform(-0.5, 0.5))] if mode == "constant" else []
    return net.add("Pad", net.map(), net.constant(amounts, np.int64), *value, mode=mode)


def reshape(net: Net) -> str:
    """Flatten, or merge height and width, or split channels."""
    shape = net.pick([1, -1], [1, net.channels, -1], [1, net.channels, 1, -1])
    return net.add("Reshape", net.map(), net.constant(shape, np.int64))


def transpose(net: Net) -> str:
    """Any order of the axes that leaves the batch first."""
    return net.add("Transpose", net.map(), perm=[0, *(int(axis) + 1 for axis in net.random.permutation(3))])


def depth_to_space(net: Net) -> str:
    """Both modes."""
    net.channels = 4 * net.integer(1, 4)
    return net.add("DepthToSpace", net.map(), blocksize=2, mode=net.pick("DCR", "CRD"))


COORDINATES = ("half_pixel", "asymmetric", "align_corners")
LINEAR: dict[str, Form] = {
    f"Resize, linear {coordinates} {'by ' + str(factor) if factor else 'to any size'}": partial(
        resize, mode="linear", coordinates=coordinates, factor=factor
    )
    for coordinates in COORDINATES
    for factor in (2, 4, None)
}
FORMS: dict[str, Form] = {
    **{f"Conv, {kind}": partial(convolution, kind=kind) for kind in ("dense", "groups", "depthwise", "multiplier")},
    "Conv, clamped": clamped,
    "ConvTranspose": transposed,
    "Gemm": gemm,
    **{f"{op} of two": partial(of_two, op=op) for op in ("Add", "Sub", "Mul")},
    **{f"{op}, constant": partial(with_constant, op=op) for op in ("Add", "Sub", "Mul")},
    "Sub, from a constant": partial(with_constant, op="Sub", first=True),
    **{op: partial(pool, op=op) for op in ("MaxPool", "AveragePool")},
    **{op: partial(reduction, op=op) for op in ("ReduceMean", "ReduceMax")},
    "Resize, nearest": partial(resize, mode="nearest", coordinates="asymmetric", factor=None),
    "Resize, nearest half_pixel": partial(resize, mode="nearest", coordinates="half_pixel", factor=None),
    **LINEAR,
    **{op: partial(curve, op=op) for op in ("Sigmoid", "Tanh", "Relu", "HardSwish")},
    "PRelu": slopes,
    "LeakyRelu": leaky,
    "Clip": clip,
    "Softmax": softmax,
    "ArgMax": arg_max,
    "Concat": concat,
    "Slice": cut,
    "Pad": pad,
    "Reshape": reshape,
    "Transpose": transpose,
    "DepthToSpace": depth_to_space,
}


def drawn(count: int) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield the name of a form and a model, ``count`` of them, every form in turn."""
    names = list(FORMS)
    for index in range(count):
        net, name = Net(index), names[index % len(names)]
        yield name, net.model(FORMS[name](net))
