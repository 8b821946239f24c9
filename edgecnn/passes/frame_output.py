"""Let pictures leave the network as NHWC, as OpenCV and NumPy take them."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.passes.rewrite import SOURCE_KEY, insert, operand, shape_of, sources
from edgecnn.passes.transposes import permutation

TO_NHWC = (0, 2, 3, 1)
KEEPS_LAYOUT = ("Add", "Clip", "LeakyRelu", "Mul", "PRelu", "Relu", "Sigmoid", "Softmax", "Sub", "Tanh")


class FrameOutput(ir.passes.InPlacePass):
    """Put a Transpose behind every output of rank 4.

    Given::

        ... -> y [1, C, H, W]

    Result::

        ... -> Transpose(0, 2, 3, 1) -> y [1, H, W, C]

    Rules:
        O1. Only outputs of rank 4. The output keeps its name.
        O2. An output that a Transpose(0, 2, 3, 1) writes, with nothing behind it but operators that keep the layout,
            is NHWC already and stays.
        O3. Indices have no grid to be moved on: in front of an ArgMax that keeps its axis, the Transpose moves its
            input, and the axis moves along.

    Requires: the normal form.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Apply O1 to O3 to all outputs."""
        modified = [self._leave(model.graph, index) for index in range(len(model.graph.outputs))]
        return ir.passes.PassResult(model, any(modified))

    def _leave(self, graph: ir.Graph, index: int) -> bool:
        output = graph.outputs[index]
        producer = output.producer()
        if len(shape_of(output)) != 4 or (producer is not None and _is_nhwc(producer)):
            return False
        if producer is not None and producer.op_type == "ArgMax" and not output.uses():
            _transpose_before(producer)
        else:
            _transpose_behind(graph, index)
        return True


def _is_nhwc(node: ir.Node) -> bool:
    producer: ir.Node | None = node
    while producer is not None and producer.op_type in KEEPS_LAYOUT:
        producer = operand(producer, 0).producer()
    return producer is not None and producer.op_type == "Transpose" and permutation(producer) == TO_NHWC


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


def _transpose_behind(graph: ir.Graph, index: int) -> None:
    output = graph.outputs[index]
    name, producer = output.name, output.producer()
    output.name = f"{name}/nchw"
    moved = ir.Value(name=name, type=output.type, shape=ir.Shape(_moved(output)))
    node = ir.node("Transpose", [output], {"perm": TO_NHWC}, outputs=[moved], name=f"{name}/Transpose")
    node.metadata_props[SOURCE_KEY] = "\n".join(sources(producer)) if producer is not None else str(name)
    graph.append(node)
    graph.outputs[index] = moved
