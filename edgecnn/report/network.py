"""One view of a network for everything that only looks at it, whether it is an imported model or an integer graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgecnn.integer_graph import Attribute, IntegerGraph, IntegerNode
from edgecnn.tensor import QuantParams

Shape = tuple[int, ...]
Pair = tuple[int, int]

WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
MOVING = ("DequantizeLinear", "Transpose", "Slice", "Pad", "Cast", "Identity")


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Return ``floor((I + P - ((K - 1) * D + 1)) / S) + 1``, where P is the padding of both sides together.

    Raises:
        ValueError: If the window does not fit into the padded map.
    """
    reach = (kernel - 1) * dilation + 1
    if size + padding < reach:
        raise ValueError(f"a window that spans {reach} does not fit into {size} elements padded by {padding}")
    return (size + padding - reach) // stride + 1


@dataclass(frozen=True)
class Window:
    """The window that a convolution or a pooling moves over a map.

    Attributes:
        kernel: Height and width in elements.
        strides: Steps down and to the right.
        pads: Top, left, bottom, right.
        dilations: Distance between the window's elements.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: Pair = (1, 1)

    @property
    def reach(self) -> Pair:
        """Height and width that the window spans, dilation included: ``(k - 1) * d + 1``."""
        return _pair((size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilations, strict=True))

    @property
    def padding(self) -> Pair:
        """Padding of both sides together, by axis."""
        top, left, bottom, right = self.pads
        return top + bottom, left + right


@dataclass(frozen=True)
class Step:
    """One node of a network.

    Attributes:
        name: The node's name.
        op: Operator type, as ONNX spells it.
        inputs: Names of the activations it reads, constants left out.
        outputs: Names of what it writes.
        constants: Shape of every constant number it computes with (weight, bias, ...), by name, in order.
        attributes: Attributes as in the normal form of the operator, or as the model has them.
        window: Geometry of a rank-4 convolution or pooling, None for others.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Shape] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    window: Window | None = None

    @property
    def weight(self) -> Shape:
        """Shape of the first constant, () where there is none."""
        return next(iter(self.constants.values()), ())

    @property
    def parameters(self) -> int:
        """Elements of all constants."""
        return sum(math.prod(shape) for shape in self.constants.values())

    def ints(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return an attribute as integers."""
        value = self.attributes.get(name, default)
        return tuple(int(item) for item in value) if isinstance(value, tuple) else (int(value),)


@dataclass(frozen=True)
class Network:
    """Steps in order of execution, and what is known of the tensors between them.

    Attributes:
        name: The model's name.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        steps: In order of execution.
        shapes: Static shape of every activation.
        grids: Grid of every activation that has one; empty for a model that is not quantised.
        widths: Bytes of one element of every activation, as it is on the device.
        image_axes: Where the rows and columns of the first input are; None if it is no image.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    shapes: Mapping[str, Shape]
    grids: Mapping[str, QuantParams] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    image_axes: Pair | None = None

    @property
    def image_size(self) -> Pair | None:
        """Height and width of the input in pixels, None if it is no image."""
        if self.image_axes is None:
            return None
        rows, columns = self.image_axes
        return self.shapes[self.inputs[0]][rows], self.shapes[self.inputs[0]][columns]

    @property
    def channels(self) -> int | None:
        """Channels of the input, None if it is no image."""
        if self.image_axes is None:
            return None
        return next(size for axis, size in enumerate(self.shapes[self.inputs[0]]) if axis not in (0, *self.image_axes))

    def bytes_of(self, name: str) -> int:
        """Return the bytes of an activation on the device."""
        return math.prod(self.shapes[name]) * self.widths.get(name, 1)

    def writer(self, name: str) -> Step | None:
        """Return the step that writes an activation, None for an input."""
        return next((step for step in self.steps if name in step.outputs), None)

    def picture_tensors(self) -> set[str]:
        """Return the inputs and everything that is only moved, not computed, from them."""
        tensors = set(self.inputs)
        for step in self.steps:
            if step.op in MOVING and set(step.inputs) <= tensors:
                tensors |= set(step.outputs)
        return tensors


def read_integers(graph: IntegerGraph) -> Network:
    """Look at an integer graph, whose frame is (1, H, W, C)."""
    specs = {spec.name: spec for spec in graph.activations()}
    image = specs[graph.inputs[0]].shape
    return Network(
        name=graph.name,
        inputs=graph.inputs,
        outputs=graph.outputs,
        steps=tuple(_step(graph, node) for node in graph.nodes),
        shapes={name: spec.shape for name, spec in specs.items()},
        grids={name: spec.quant for name, spec in specs.items() if spec.quant is not None},
        widths={name: 8 if spec.dtype == "int64" else 1 for name, spec in specs.items()},
        image_axes=(1, 2) if len(image) == 4 else None,
    )


def _step(graph: IntegerGraph, node: IntegerNode) -> Step:
    constants = {name: graph.spec(name).shape for name in node.inputs if name in graph.constants}
    activations = tuple(name for name in node.inputs if name not in graph.constants)
    window = window_of(node.op, node.attributes, next(iter(constants.values()), ()))
    return Step(node.name, node.op, activations, (node.output,), constants, node.attributes, window)


def window_of(op: str, attributes: Mapping[str, Attribute], weight: Shape) -> Window | None:
    """Return the window of an operator in normal form, None if it has none or is not two-dimensional."""
    if op not in WINDOWED:
        return None
    found = {key: value for key, value in attributes.items() if isinstance(value, tuple)}
    kernel, strides = found.get("kernel", weight[2:]), found.get("strides", (1, 1))
    pads, dilations = found.get("pads", (0, 0, 0, 0)), found.get("dilations", (1, 1))
    if len(kernel) != 2 or len(pads) != 4:
        return None
    top, left, bottom, right = (int(value) for value in pads)
    return Window(_pair(kernel), _pair(strides), (top, left, bottom, right), _pair(dilations))


def _pair(values: Iterable[float]) -> Pair:
    first, second = values
    return int(first), int(second)
