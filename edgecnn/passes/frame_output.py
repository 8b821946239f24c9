"""Let pictures leave the network as NHWC, as OpenCV and NumPy take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgecnn.passes.rewrite import SOURCE_KEY, Array, array, constant, insert, operand, shape_of, sources
from edgecnn.passes.split_outputs import SplitOutputs
from edgecnn.passes.transposes import permutation

TO_NHWC = (0, 2, 3, 1)
KEEPS_LAYOUT = (
    "Add",
    "ArgMax",
    "Clip",
    "Concat",
    "LeakyRelu",
    "Mul",
    "PRelu",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Sub",
    "Tanh",
)
BEFORE = {"Transpose": "nchw", "Reshape": "number"}
FloatRun = Callable[[Mapping[str, Array]], list[Array]]


class FrameOutput(ir.passes.InPlacePass):
    """Put a Transpose behind every output of rank 4.

    Given::

        ... -> y [1, C, H, W]

    Result::

        ... -> Transpose(0, 2, 3, 1) -> y [1, H, W, C]

    Rules:
        O1. Only outputs of rank 4. The output keeps its name.
        O2. An output that is NHWC already stays: a Transpose(0, 2, 3, 1) wrote what it is made of, and nothing but
            operators that keep the layout, and all axes, stand behind it. `leave` knows which were moved.
        O3. Indices have no grid to be moved on: in front of an ArgMax that keeps its axis, the Transpose moves its
            input, and the axis moves along.
        O4. A number alone, of rank 0, becomes a vector of shape (1,): tensors of a bundle have a batch axis.
        O5. Before all of that, an output in which scores are joined to boxes is cut (`SplitOutputs`).

    Requires: the normal form.
    """

    def __init__(self) -> None:
        self._moved: tuple[bool, ...] = ()
        self._cutting = SplitOutputs()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Apply O1 to O5 to all outputs."""
        was_cut = self._cutting(model).modified
        graph, nhwc = model.graph, _nhwc_values(model.graph)
        ranks = [len(shape_of(output)) for output in graph.outputs]
        self._moved = tuple(rank == 4 and value not in nhwc for rank, value in zip(ranks, graph.outputs, strict=True))
        for index, moved in enumerate(self._moved):
            if moved:
                _move(graph, index)
            elif ranks[index] == 0:
                _append(graph, index, "Reshape", (1,), [_shape(graph, index)])
        common.NameFixPass()(model)  # a node of the model may bear the name that is given to a new one
        return ir.passes.PassResult(model, was_cut or any(self._moved) or 0 in ranks)

    def leave(self, outputs: Sequence[Array]) -> list[Array]:
        """Bring the outputs of the model before the pass into the layouts that they have behind it.

        Args:
            outputs: One array per output, (1, C, H, W) where the pass has moved it, whole where it has cut it.

        Raises:
            ValueError: If there are not as many as the pass has seen.
        """
        pairs = zip(self._cutting.leave(outputs), self._moved, strict=True)
        return [np.atleast_1d(array.transpose(TO_NHWC) if moved else array) for array, moved in pairs]

    def behind(self, model: FloatRun) -> FloatRun:
        """Return the model as it was before the pass, with the outputs in the layouts that they have behind it."""
        return lambda feeds: self.leave(model(feeds))


def _nhwc_values(graph: ir.Graph) -> set[ir.Value]:
    """Return the values of rank 4 that are NHWC (O2)."""
    found: set[ir.Value] = set()
    for node in graph:
        output = node.outputs[0]
        if len(shape_of(output)) == 4 and (_turns(node) or _keeps(node, found)):
            found.add(output)
    return found


def _turns(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and permutation(node) == TO_NHWC


def _keeps(node: ir.Node, nhwc: set[ir.Value]) -> bool:
    """Say whether all that ``node`` computes with is NHWC; a Reshape to the same shape is a copy."""
    read = [value for value in node.inputs if value is not None and array(value) is None]
    is_copy = node.op_type == "Reshape" and shape_of(read[0]) == shape_of(node.outputs[0])
    return bool(read) and (node.op_type in KEEPS_LAYOUT or is_copy) and nhwc.issuperset(read)


def _move(graph: ir.Graph, index: int) -> None:
    output = graph.outputs[index]
    producer = output.producer()
    if producer is not None and producer.op_type == "ArgMax" and not output.uses():
        _transpose_before(producer)
    else:
        _append(graph, index, "Transpose", _moved(output), attributes={"perm": TO_NHWC})


def _moved(value: ir.Value) -> list[int]:
    shape = shape_of(value)
    return [shape[axis] for axis in TO_NHWC]


def _transpose_before(node: ir.Node) -> None:
    value, output = operand(node, 0), node.outputs[0]
    moved = insert(node, "Transpose", [value], _moved(value), {"perm": TO_NHWC}, dtype=value.dtype)
    node.replace_input_with(0, moved)
    axis = node.attributes.get_int("axis", 0) % 4
    node.attributes.add(ir.AttrInt64("axis", TO_NHWC.index(axis)))
    output.shape = ir.Shape(_moved(output))


def _shape(graph: ir.Graph, index: int) -> ir.Value:
    return constant(graph, f"{graph.outputs[index].name}/shape", np.asarray([1], np.int64))


def _append(
    graph: ir.Graph,
    index: int,
    op: str,
    shape: Sequence[int],
    arguments: Sequence[ir.Value] = (),
    attributes: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Let a new node write the output ``index``, made of what was the output."""
    output = graph.outputs[index]
    name, producer = output.name, output.producer()
    output.name = f"{name}/{BEFORE[op]}"
    written = ir.Value(name=name, type=output.type, shape=ir.Shape(shape))
    node = ir.node(op, [output, *arguments], dict(attributes or {}), outputs=[written], name=f"{name}/{op}")
    node.metadata_props[SOURCE_KEY] = "\n".join(sources(producer)) if producer is not None else str(name)
    graph.append(node)
    graph.outputs[index] = written
