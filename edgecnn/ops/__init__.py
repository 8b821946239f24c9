"""The operators of the canonical integer graph, one file each, found by file name.

The file ``edgecnn/ops/max_pool.py`` is the operator ``MaxPool``. It says:

- ``GRID``: ``"own"`` (the output has a grid of its own), ``"shared"`` (all activations on one grid),
  ``"fixed"`` (the grid is the constant ``FIXED``) or ``"none"`` (the output is not quantised).
- ``OPERANDS``: how many leading inputs of the float node are kept (None: all; the others are arguments).
- ``attributes(node, grid)``: the operator's attributes, read from a float node in normal form.
- ``reference(node, inputs, output)``: what the operator means, in numpy on integers.
- ``to_onnx(node, writer)``: how it is written in ONNX.
- ``to_tflite(node, writer)``: how it is written in TFLite.

The writers are handed in, so these files import neither onnx nor flatbuffers and serve both halves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgecnn.affine import dequantise
from edgecnn.integer_graph import Array, Attribute, IntegerGraph, IntegerNode
from edgecnn.tensor import QuantParams, TensorSpec

# How TFLite holds a map: the logical NCHW axes in the order of memory.
CHANNELS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class Operand:
    """Integers together with the spec that says what they mean."""

    values: Array
    spec: TensorSpec

    @property
    def grid(self) -> QuantParams:
        """The operand's grid."""
        return self.spec.grid

    def offset(self) -> npt.NDArray[np.int32]:
        """Return ``values - zero_point`` as int32."""
        return self.values.astype(np.int32) - np.int32(self.grid.zero_point)

    def real(self) -> npt.NDArray[np.float32]:
        """Return the real values as float32."""
        return dequantise(self.values, self.grid)


@dataclass(frozen=True)
class FloatNode:
    """A node of the float graph in normal form, as plain numpy: what `attributes` reads.

    Attributes:
        name: The node's name.
        op: ONNX operator type.
        inputs: Value names, empty for an omitted input.
        output: Name of the output value.
        given: Attributes that the node has.
        constants: Arrays of the inputs that are constants, by value name.
        shapes: Static shapes of inputs and output, by value name.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    given: Mapping[str, Attribute]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Static shape of the output."""
        return self.shapes[self.output]

    def shape(self, index: int) -> tuple[int, ...]:
        """Static shape of an input."""
        return self.shapes[self.inputs[index]]

    def ints(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return an attribute as integers."""
        value = self.given.get(name, default)
        return tuple(int(item) for item in value) if isinstance(value, tuple) else (int(value),)

    def integer(self, name: str, default: int = 0) -> int:
        """Return an attribute as an integer."""
        return self.ints(name, (default,))[0]

    def number(self, name: str, default: float) -> float:
        """Return an attribute as a float."""
        value = self.given.get(name, default)
        if isinstance(value, (tuple, str)):
            raise TypeError(f"{self.op} '{self.name}': attribute '{name}' must be a number, got {value!r}")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """Return an attribute as a string."""
        return str(self.given.get(name, default))

    def axis(self, name: str, default: int = 0) -> int:
        """Return an axis attribute counted from the front."""
        return self.integer(name, default) % len(self.shape(0))

    def argument(self, index: int, default: Sequence[int] = ()) -> list[int]:
        """Return a constant input as a list of integers, ``default`` where it is omitted."""
        if index >= len(self.inputs) or not self.inputs[index]:
            return list(default)
        return [int(item) for item in self.constants[self.inputs[index]].ravel()]

    def reduction(self) -> dict[str, Attribute]:
        """Return axes counted from the front and keepdims; axes are an input since opset 18, an attribute before."""
        rank = len(self.shape(0))
        axes = self.argument(1, self.ints("axes", tuple(range(rank))))
        return {"axes": tuple(sorted(axis % rank for axis in axes)), "keepdims": self.integer("keepdims", 1)}

    def pooling(self) -> dict[str, Attribute]:
        """Return kernel, strides and pads, every default spelt out."""
        strides, pads = self.ints("strides", (1, 1)), self.ints("pads", (0, 0, 0, 0))
        return {"kernel": self.ints("kernel_shape"), "strides": strides, "pads": pads}

    def bounds(self) -> tuple[float, float]:
        """Ends of the clamp that a Relu or Clip makes, in real values."""
        if self.op == "Relu":
            return 0.0, float("inf")
        low, high = (self._scalar(index, side) for index, side in ((1, -np.inf), (2, np.inf)))
        return low, high

    def fill(self) -> float:
        """The real value that a Pad writes."""
        return self._scalar(2, 0.0)

    def _scalar(self, index: int, default: float) -> float:
        if index >= len(self.inputs) or not self.inputs[index]:
            return float(default)
        return float(self.constants[self.inputs[index]].ravel()[0])


class OnnxWriter(Protocol):
    """What an operator needs to write itself as ONNX."""

    graph: IntegerGraph

    def integers(self, name: str) -> str:
        """Return the ONNX value that holds the integers of tensor ``name``."""

    def real(self, name: str) -> str:
        """Return a new ONNX value: tensor ``name`` dequantised."""

    def constant(self, array: Array) -> str:
        """Add an initialiser and return its name."""

    def emit(self, op_type: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """Add a node with one output of a new name and return that name."""

    def move(self, node: IntegerNode, op_type: str, inputs: Sequence[str], **attributes: Attribute) -> None:
        """Write ``node`` as an ONNX node that works on the integers as they are."""

    def quantise(self, node: IntegerNode, value: str) -> None:
        """Quantise the real ``value`` onto the output grid of ``node``."""


class TfliteWriter(Protocol):
    """What an operator needs to write itself as TFLite.

    Tensors of the file are named by strings. An ``order`` lists the logical (NCHW) axes as memory holds them.
    """

    graph: IntegerGraph

    def order(self, names: Sequence[str], rank: int) -> tuple[int, ...]:
        """Return the order of ``rank`` logical axes in which the named tensors need the least moving."""

    def read(self, name: str, order: Sequence[int]) -> str:
        """Return the file's tensor that holds ``name`` in ``order``; missing leading axes count as 1."""

    def features(self, name: str) -> tuple[str, npt.NDArray[np.int64]]:
        """Return a map as NHWC and the logical channel of every channel of it."""

    def rows(self, name: str) -> tuple[str, npt.NDArray[np.int64]]:
        """Return a matrix (..., K) as NHWC (1, 1, rows, K) and the logical column of every column of it."""

    def regrouped(self, name: str, shape: Sequence[int], perm: Sequence[int]) -> str:
        """Return a map as NHWC after its reshape to ``shape``, a transpose by ``perm``, and the reshape back."""

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor of the file."""

    def channels(self, node: IntegerNode) -> npt.NDArray[np.int64]:
        """Return the logical channel of every channel that ``node`` shall write."""

    def constant(self, array: Array, quant: QuantParams | None = None) -> str:
        """Add a constant and return its tensor."""

    def parameter(self, name: str, array: Array, axis: int, slices: npt.NDArray[np.int64] | None = None) -> str:
        """Add the rearranged constant ``name`` on its own grid, whose scales now run along ``axis``."""

    def emit(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], grid: str | QuantParams, **options: Attribute
    ) -> str:
        """Add an operator with an intermediate output on ``grid`` (or on that of the tensor named so); return it."""

    def write(
        self,
        node: IntegerNode,
        op: str,
        inputs: Sequence[str],
        order: Sequence[int],
        memory: Sequence[int] | None = None,
        /,
        **options: Attribute,
    ) -> None:
        """Add the operator that writes the output of ``node`` in ``order`` (in shape ``memory`` where that differs)."""

    def reshape(self, node: IntegerNode) -> None:
        """Write a Reshape as a relabelling of axes."""

    def transpose(self, node: IntegerNode) -> None:
        """Write a Transpose as a relabelling of axes."""

    def alias(self, node: IntegerNode) -> None:
        """Write a node that changes nothing."""

    def unary(self, node: IntegerNode, op: str, **options: Attribute) -> None:
        """Write an elementwise operator of one input in whatever layout the input has."""

    def binary(self, node: IntegerNode, op: str) -> None:
        """Write an elementwise operator of two inputs with broadcasting."""

    def reduce(self, node: IntegerNode, op: str) -> None:
        """Write a reduction over the node's axes."""

    def pool(self, node: IntegerNode, op: str) -> None:
        """Write a pooling operator."""

    def rescale(self, node: IntegerNode) -> None:
        """Write a change of grid."""

    def slopes(self, node: IntegerNode, slope: Array, step: QuantParams) -> None:
        """Write ``slope * min(x, 0) + max(x, 0)``; ``slope`` is int8 on grid ``step``."""

    def window(
        self, node: IntegerNode, tensor: str, kernel: Sequence[int], dilations: Sequence[int] = (1, 1)
    ) -> tuple[str, str]:
        """Return the tensor (padded with its zero point where needed) and SAME or VALID for a convolution's window."""

    def refuse(self, node: IntegerNode, reason: str, suggestion: str) -> None:
        """Note that ``node`` cannot be lowered; all refusals are reported at once."""


def op_file(op: str) -> str:
    """Return the file name (without ``.py``) of an operator: ``MaxPool`` -> ``max_pool``."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in op)[1:]


__all__ = [
    "CHANNELS_LAST",
    "Array",
    "Attribute",
    "FloatNode",
    "IntegerNode",
    "OnnxWriter",
    "Operand",
    "TfliteWriter",
    "op_file",
]
