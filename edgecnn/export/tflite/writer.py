"""Lowers the canonical integer graph to full-integer TFLite, operator by operator.

uint8 activations become int8 with zero point - 128 and integers - 128: the same grid. Weights and biases stay as they
are. The layout is channels-last throughout; `edgecnn.export.tflite.layout` explains why that needs no transposes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgecnn.errors import Refusal, UnsupportedError
from edgecnn.export.tflite import geometry
from edgecnn.export.tflite.layout import (
    CHANNELS_LAST,
    View,
    absorb,
    order_of,
    stored,
    transposed,
)
from edgecnn.export.tflite.model import FileModel
from edgecnn.export.tflite.pooling import write_pool
from edgecnn.export.tflite.slopes import write_rescaled, write_slopes
from edgecnn.export.tflite.tracker import Tracker
from edgecnn.integer_graph import Array, Attribute, IntegerGraph, IntegerNode
from edgecnn.ops import op_file
from edgecnn.tensor import QuantParams, TensorSpec

Indices = npt.NDArray[np.int64]

# Largest ratio of input to output scale that elementwise kernels are asked for.
FINEST = 128


def shifted(quant: QuantParams | None, dtype: str) -> QuantParams | None:
    """Return the grid as the file has it: a uint8 grid moves to int8 by 128."""
    if quant is None or dtype != "uint8":
        return quant
    return replace(quant, zero_point=quant.zero_point - 128)


class Writer:
    """Builds the file; what operators see of it is `edgecnn.ops.TfliteWriter`.

    Attributes:
        graph: The graph being lowered.
        file: The TFLite model under construction.
        tracker: Knows how every tensor lies in memory, and which TRANSPOSE operators were needed.
        refusals: The nodes that could not be lowered.
    """

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self.file = FileModel()
        self.tracker = Tracker(self.file)
        self.refusals: list[Refusal] = []
        self._blocks = _subpixel_blocks(graph)

    # Reading tensors in the layout an operator wants

    def order(self, names: Sequence[str], rank: int) -> tuple[int, ...]:
        """Return the order of ``rank`` logical axes in which the named tensors need the least moving."""
        views = [self.tracker.view(name, rank) for name in names if name not in self.graph.constants]
        views.sort(key=lambda view: -np.prod(view.shape))
        orders = [order for order in map(order_of, views) if order is not None]
        if rank == 4 and (CHANNELS_LAST in orders or not orders):
            return CHANNELS_LAST
        return orders[0] if orders else tuple(range(rank))

    def read(self, name: str, order: Sequence[int]) -> str:
        """Return the file's tensor that holds ``name`` with its logical axes in ``order``.

        Missing leading axes count as 1. Constants are permuted here, activations by a TRANSPOSE where they lie
        otherwise.
        """
        if name in self.graph.constants:
            spec, array = self.graph.spec(name), self.graph.constants[name]
            array = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(tuple(order))
            return self.constant(_to_int8(array), shifted(spec.quant, spec.dtype), name)
        return self.tracker.place(self.tracker.view(name, len(order)), order)

    def features(self, name: str) -> tuple[str, Indices]:
        """Return a map as NHWC and, for every channel of it, the logical channel.

        The reader's weight takes up a permutation of the channels; no data moves for it.
        """
        view, channels = absorb(self.tracker.view(name, 4), 1, CHANNELS_LAST)
        return self.tracker.place(view, CHANNELS_LAST), channels

    def rows(self, name: str) -> tuple[str, Indices]:
        """Return a matrix (..., K) as NHWC (1, 1, rows, K) and, for every column, the logical column."""
        shape = self.graph.spec(name).shape
        logical = tuple(range(len(shape)))
        view, columns = absorb(self.tracker.view(name, len(shape)), len(shape) - 1, logical)
        matrix = self.tracker.reshape(view, (1, 1, int(np.prod(shape[:-1])), shape[-1]))
        return self.tracker.place(matrix, (0, 1, 2, 3)), columns

    def regrouped(self, name: str, shape: Sequence[int], perm: Sequence[int]) -> str:
        """Return a map as NHWC after its reshape to ``shape``, a transpose by ``perm``, and the reshape back."""
        view = self.tracker.view(name, 4)
        split = transposed(self.tracker.reshape(view, shape), perm)
        return self.tracker.place(self.tracker.reshape(split, view.shape), CHANNELS_LAST)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor of the file."""
        return self.file.tensors[tensor].shape

    def channels(self, node: IntegerNode) -> Indices:
        """Return the logical channel of every channel that ``node`` shall write.

        A sub-pixel layer (DepthToSpace in mode CRD) that alone reads the output wants the channels regrouped.
        """
        count = self.graph.spec(node.output).shape[1]
        block = self._blocks.get(node.output)
        if block is None:
            return np.arange(count)
        return np.arange(count).reshape(-1, block * block).T.reshape(-1)

    # Writing

    def constant(self, array: Array, quant: QuantParams | None = None, name: str = "") -> str:
        """Add a constant and return its tensor; ``name`` is the graph's name for it."""
        return self.tracker.constant(array, quant, name)

    def parameter(self, name: str, array: Array, axis: int, slices: Indices | None = None) -> str:
        """Add the rearranged constant ``name`` on its own grid.

        Args:
            name: The graph's name of the constant.
            array: Its integers, rearranged.
            axis: The axis that a per-channel scale now runs along.
            slices: The logical slice of every slice along ``axis``, None for all in their order.
        """
        quant = self.graph.spec(name).grid
        if len(quant.scale) == 1:
            return self.constant(array, replace(quant, axis=None), name)
        if slices is None or np.array_equal(slices, np.arange(len(slices))):
            return self.constant(array, QuantParams.per_channel(quant.scales, axis), name)
        return self.constant(array, QuantParams.per_channel(quant.scales[slices], axis), f"{name}/regrouped")

    def emit(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], grid: str | QuantParams, **options: Attribute
    ) -> str:
        """Add an operator with an intermediate int8 output; return the output.

        Args:
            op: Name of the builtin operator.
            inputs: Tensors of the file.
            shape: Shape of the output in the file.
            grid: The output's uint8 grid, or the graph's tensor that has it.
            options: The operator's options in snake case.
        """
        quant = self.graph.spec(grid).grid if isinstance(grid, str) else grid
        output = self.file.add_tensor(f"{self.tracker.node}/{op.lower()}", shape, "int8", shifted(quant, "uint8"))
        self.tracker.operator(op, inputs, output, options)
        return output

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
        """Add the operator that writes the output of ``node``, with the logical axes in ``order``.

        Args:
            node: The node.
            op: Name of the builtin operator.
            inputs: Tensors of the file.
            order: Order of the output's logical axes in memory.
            memory: Shape in the file where it differs in axes of size 1 or joins axes.
            options: The operator's options in snake case.
        """
        spec = self.graph.spec(node.output)
        shape = tuple(spec.shape[axis] for axis in order) if memory is None else tuple(memory)
        output = self._output(spec, shape)
        self.tracker.operator(op, inputs, output, options)
        self.tracker.views[node.output] = replace(stored(output, spec.shape, order), memory=shape)
        if node.output in self._blocks:
            self.tracker.views[node.output] = self._unblocked(node.output)

    def reshape(self, node: IntegerNode) -> None:
        """Write a Reshape: a relabelling, data moves only where the new axes cut through the layout."""
        view = self.tracker.view(node.inputs[0], len(self.graph.spec(node.inputs[0]).shape))
        self.tracker.views[node.output] = self.tracker.reshape(view, self.graph.spec(node.output).shape)

    def transpose(self, node: IntegerNode) -> None:
        """Write a Transpose: a relabelling, nothing moves here."""
        view = self.tracker.view(node.inputs[0], len(node.ints("perm")))
        self.tracker.views[node.output] = transposed(view, node.ints("perm"))

    def alias(self, node: IntegerNode) -> None:
        """Write a node that changes nothing."""
        self.tracker.views[node.output] = self.tracker.views[node.inputs[0]]

    def unary(self, node: IntegerNode, op: str, **options: Attribute) -> None:
        """Write an elementwise operator of one input in whatever layout the input has."""
        view = self.tracker.views[node.inputs[0]]
        output = self._output(self.graph.spec(node.output), view.memory)
        self.tracker.operator(op, [view.tensor], output, options)
        self.tracker.views[node.output] = replace(view, tensor=output)

    def binary(self, node: IntegerNode, op: str) -> None:
        """Write an elementwise operator of two inputs with broadcasting.

        Refuses where the output grid is finer than `FINEST` of what comes in: int8 kernels overflow there (measured:
        ADD wraps to the other end of the grid from a ratio of 255 on).
        """
        scales = [self.graph.spec(name).grid.scale[0] for name in node.inputs]
        incoming = scales[0] * scales[1] if op == "MUL" else max(scales)
        if incoming / self.graph.spec(node.output).grid.scale[0] >= FINEST:
            self.refuse(
                node,
                f"Its output grid is {FINEST} times finer than its inputs, where int8 kernels overflow.",
                "Calibrate with images on which this output is not constant.",
            )
            return
        order = self.order(node.inputs, len(self.graph.spec(node.output).shape))
        inputs = [self.read(name, order) for name in node.inputs]
        self.write(node, op, inputs, order, fused_activation_function="NONE")

    def reduce(self, node: IntegerNode, op: str) -> None:
        """Write a reduction; the file keeps the reduced axes, so that a following 1x1 convolution needs no RESHAPE."""
        axes, rank = node.ints("axes"), len(self.graph.spec(node.inputs[0]).shape)
        order = self.order(node.inputs, rank)
        x = self.read(node.inputs[0], order)
        reduced = sorted(order.index(axis) for axis in axes)
        memory = [1 if index in reduced else size for index, size in enumerate(self.shape(x))]
        left = [axis for axis in range(rank) if axis not in axes]
        kept = [left.index(axis) for axis in order if axis in left]
        where = self.constant(np.asarray(reduced, np.int32))
        self.write(node, op, [x, where], order if node.integer("keepdims") else kept, memory, keep_dims=True)

    def pool(self, node: IntegerNode, op: str) -> None:
        """Write a pooling operator."""
        write_pool(self, node, op)

    def rescale(self, node: IntegerNode) -> None:
        """Write a change of grid."""
        write_rescaled(self, node)

    def slopes(self, node: IntegerNode, slope: Array, step: QuantParams) -> None:
        """Write ``slope * min(x, 0) + max(x, 0)``; ``slope`` is int8 on grid ``step``."""
        write_slopes(self, node, slope.astype(np.int8), step)

    def window(
        self, node: IntegerNode, tensor: str, kernel: Sequence[int], dilations: Sequence[int] = (1, 1)
    ) -> tuple[str, str]:
        """Return the tensor and the padding (SAME or VALID) with which a window slides as ``node`` says.

        Where neither is exact the tensor is padded with its zero point first.
        """
        pair = self.windows(node, tensor, kernel, dilations)
        padding = geometry.padding_of(pair)
        return (tensor, padding) if padding else (self._padded(node, tensor, pair), "VALID")

    def windows(
        self, node: IntegerNode, tensor: str, kernel: Sequence[int], dilations: Sequence[int] = (1, 1)
    ) -> tuple[geometry.Window, geometry.Window]:
        """Return how the window of ``node`` slides over an NHWC tensor along height and width."""
        out = self.graph.spec(node.output).shape[2:]
        size = self.shape(tensor)[1:3]
        return geometry.windows(size, out, kernel, node.ints("strides"), node.ints("pads"), dilations)

    def refuse(self, node: IntegerNode, reason: str, suggestion: str) -> None:
        """Note that ``node`` cannot be lowered and go on, so that all refusals are reported at once."""
        self.refusals.append(Refusal(node.op, node.name, reason, suggestion))
        spec = self.graph.spec(node.output)
        self.tracker.views[node.output] = stored(self._output(spec, spec.shape), spec.shape, range(len(spec.shape)))

    # The graph as a whole

    def lower(self) -> None:
        """Lower the whole graph.

        Raises:
            UnsupportedError: With all nodes that cannot be lowered.
        """
        for name in self.graph.inputs:
            self._enter(self.graph.spec(name))
        for node in self.graph.nodes:
            self.tracker.node = node.name
            importlib.import_module(f"edgecnn.ops.{op_file(node.op)}").to_tflite(node, self)
        if self.refusals:
            raise UnsupportedError(self.refusals, "TFLite")
        self.tracker.node = "output"
        for name in self.graph.outputs:
            self._leave(self.graph.spec(name))

    def to_bytes(self, metadata: Mapping[str, str] | None = None) -> bytes:
        """Return the file."""
        return self.file.to_bytes(self.graph.name, self.graph.inputs, self.graph.outputs, metadata)

    def _enter(self, spec: TensorSpec) -> None:
        """Add a graph input: uint8 as the camera gives it, then QUANTIZE to int8 (exact: it only flips a bit)."""
        tensor = self.file.add_tensor(spec.name, spec.shape, spec.dtype, spec.quant)
        if spec.dtype == "uint8":
            inside = self.file.add_tensor(f"{spec.name}/int8", spec.shape, "int8", _file_grid(spec))
            self.tracker.operator("QUANTIZE", [tensor], inside, {})
            tensor = inside
        self.tracker.views[spec.name] = stored(tensor, spec.shape, range(len(spec.shape)))

    def _leave(self, spec: TensorSpec) -> None:
        """Add a graph output: QUANTIZE from int8 to uint8, as in Google's own full-integer models; indices stay."""
        view, order = self.tracker.views[spec.name], range(len(spec.shape))
        output = self.file.add_tensor(spec.name, spec.shape, spec.dtype, spec.quant)
        if spec.dtype == "uint8":
            self.tracker.operator("QUANTIZE", [self.tracker.place(view, order)], output, {})
        else:
            shape = self.constant(np.asarray(spec.shape, np.int32))
            self.tracker.operator(
                "RESHAPE", [self.tracker.moved(view, order), shape], output, {"new_shape": spec.shape}
            )

    def _unblocked(self, name: str) -> View:
        """Return the logical view of a map whose channels were written in the order of `channels`."""
        view, block = self.tracker.views[name], self._blocks[name]
        batch, channels, height, width = view.shape
        split = self.tracker.reshape(view, (batch, block * block, channels // block**2, height, width))
        return self.tracker.reshape(transposed(split, (0, 2, 1, 3, 4)), view.shape)

    def _output(self, spec: TensorSpec, shape: Sequence[int]) -> str:
        """Add the tensor for a node's output; the plain name of a graph output belongs to what leaves the file."""
        dtype = _file_dtype(spec)
        name = f"{spec.name}/{dtype}" if spec.name in self.graph.outputs else spec.name
        return self.file.add_tensor(name, shape, dtype, _file_grid(spec))

    def _padded(self, node: IntegerNode, tensor: str, pair: tuple[geometry.Window, geometry.Window]) -> str:
        rows, columns = pair
        table = np.asarray([[0, 0], [rows.begin, rows.end], [columns.begin, columns.end], [0, 0]], np.int32)
        shape = [size + int(pads.sum()) for size, pads in zip(self.shape(tensor), table, strict=True)]
        return self.emit("PAD", [tensor, self.constant(table)], shape, node.inputs[0])


def _to_int8(array: Array) -> Array:
    if array.dtype != np.uint8:
        return array
    return (array.astype(np.int16) - 128).astype(np.int8)


def _file_dtype(spec: TensorSpec) -> str:
    return "int8" if spec.dtype == "uint8" else spec.dtype


def _file_grid(spec: TensorSpec) -> QuantParams | None:
    return shifted(spec.quant, spec.dtype)


def _subpixel_blocks(graph: IntegerGraph) -> dict[str, int]:
    """Return the block size of every convolution output that one sub-pixel layer alone reads."""
    readers: dict[str, list[IntegerNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    blocks = {}
    for node in graph.nodes:
        following = readers.get(node.output, [])
        if node.op != "Conv" or node.integer("group") != 1 or len(following) != 1 or node.output in graph.outputs:
            continue
        if following[0].op == "DepthToSpace" and following[0].text("mode") == "CRD":
            blocks[node.output] = following[0].integer("blocksize")
    return blocks
