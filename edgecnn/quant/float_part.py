"""Some nodes of a placed float graph, made to run on their own with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgecnn.integer_graph import Array
from edgecnn.ops import FloatNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.placement import Range


class FloatPart:
    """Nodes of `edgecnn.quant.placement.Placement.nodes`, ready to run on float32 tensors.

    A fused clamp follows its node as a Clip; a Requantize, which changes no real value, is an Identity.

    Args:
        model: The float graph that the nodes were read from; says opset and IR version.
        nodes: In order of execution, without indices (int64) among what they read or write.
        clamps: Ends of fused clamps by tensor name; a node whose output is not in it is not clamped.
        outputs: Names of tensors that the nodes write.

    Attributes:
        inputs: Names of the tensors that the nodes read and do not write.
    """

    def __init__(
        self, model: ir.Model, nodes: Sequence[FloatNode], clamps: Mapping[str, Range], outputs: Sequence[str]
    ) -> None:
        written = {node.output for node in nodes}
        read = {
            name: node.shapes[name] for node in nodes for name in node.inputs if name and name not in node.constants
        }
        self.inputs = tuple(name for name in read if name not in written)
        self._outputs = tuple(outputs)
        constants: dict[str, onnx.TensorProto] = {}
        graph = helper.make_graph(
            [proto for node in nodes for proto in _protos(node, clamps, constants)],
            "part",
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, read[name]) for name in self.inputs],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            list(constants.values()),
        )
        opsets = [helper.make_opsetid(domain, version or 1) for domain, version in model.graph.opset_imports.items()]
        self._run = FloatModel(helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version))

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name. Several threads may call at a time.

        Args:
            values: float32 tensors by name, at least `inputs`.
        """
        arrays = self._run({name: values[name] for name in self.inputs})
        return dict(zip(self._outputs, arrays, strict=True))


def _protos(
    node: FloatNode, clamps: Mapping[str, Range], constants: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Return a node as ONNX nodes and add what they need to ``constants``."""
    if node.op == "Requantize":
        return [helper.make_node("Identity", node.inputs[:1], [node.output])]
    for name, array in node.constants.items():
        if name not in constants:
            constants[name] = numpy_helper.from_array(array, name)
    if node.output not in clamps:
        return [_proto(node, node.output)]
    raw = f"{node.output}/unclamped"
    ends = {f"{raw}/{side}": np.float32(end) for side, end in zip(("low", "high"), clamps[node.output], strict=True)}
    constants |= {name: numpy_helper.from_array(np.asarray(end), name) for name, end in ends.items()}
    return [_proto(node, raw), helper.make_node("Clip", [raw, *ends], [node.output])]


def _proto(node: FloatNode, output: str) -> onnx.NodeProto:
    proto = helper.make_node(node.op, node.inputs, [output])
    proto.attribute.extend(helper.make_attribute(name, value) for name, value in sorted(node.given.items()))
    return proto
