"""Write the canonical integer graph as an ONNX QDQ model.

Data movement (Transpose, Concat, MaxPool, Reshape, ...) stands directly on the uint8 tensors; arithmetic stands between
DequantizeLinear and QuantizeLinear, which ONNX Runtime and OpenVINO fuse into integer kernels.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecnn.errors import ModelError
from edgecnn.integer_graph import Array, Attribute, IntegerGraph, IntegerNode
from edgecnn.ops import op_file
from edgecnn.tensor import QuantParams, TensorSpec

OPSET = 18
IR_VERSION = 8
"""What ONNX Runtime 1.14 and newer load; a target's profile may ask for more."""
_TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "int32": TensorProto.INT32, "int64": TensorProto.INT64}


class Writer:
    """Builds the ONNX graph node by node; what operators see of it is `edgecnn.ops.OnnxWriter`."""

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def integers(self, name: str) -> str:
        """Return the ONNX value that holds the integers of tensor ``name``."""
        if name in self.graph.constants and name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(self.graph.constants[name], name)
        return name

    def real(self, name: str) -> str:
        """Return a new value: tensor ``name`` dequantised. Every reader gets its own, as fusions want it."""
        spec = self.graph.spec(name)
        return self._affine("DequantizeLinear", self.integers(name), spec, f"{name}/real{len(self.nodes)}")

    def constant(self, array: Array) -> str:
        """Add an initialiser, once per value, and return its name."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            name = f"const{len(self._shared)}"
            self._shared[key] = name
            self.initializers[name] = numpy_helper.from_array(array, name)
        return self._shared[key]

    def emit(self, op_type: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """Add a node with one output of a new name and return that name."""
        output = f"{op_type}/value{len(self.nodes)}"
        self._add(op_type, inputs, output, output, attributes)
        return output

    def move(self, node: IntegerNode, op_type: str, inputs: Sequence[str], **attributes: Attribute) -> None:
        """Write ``node`` as an ONNX node that works on the integers as they are."""
        self._add(op_type, inputs, node.output, node.name, attributes)

    def quantise(self, node: IntegerNode, value: str) -> None:
        """Quantise the real ``value`` onto the output grid of ``node``."""
        self._affine("QuantizeLinear", value, self.graph.spec(node.output), node.output)

    def _affine(self, op_type: str, value: str, spec: TensorSpec, output: str) -> str:
        scale, zero_point = self._grid(spec)
        axis = {} if spec.grid.axis is None else {"axis": spec.grid.axis}
        self._add(op_type, [value, scale, zero_point], output, f"{output}/{op_type}", axis)
        return output

    def _grid(self, spec: TensorSpec) -> tuple[str, str]:
        quant = spec.grid
        scale = quant.scales.reshape(()) if quant.axis is None else quant.scales
        zero_point = np.full(scale.shape, quant.zero_point, spec.dtype)
        if spec.dtype != "int8":
            return self.constant(scale), self.constant(zero_point)
        # Not shared: told to keep wide pairs exact, ONNX Runtime renames the zero point of each weight, and fails where
        # two have one in common.
        name = f"{spec.name}/zero_point"
        self.initializers[name] = numpy_helper.from_array(zero_point, name)
        return self.constant(scale), name

    def _add(
        self, op_type: str, inputs: Sequence[str], output: str, name: str, attributes: Mapping[str, Attribute]
    ) -> None:
        node = helper.make_node(op_type, list(inputs), [output], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)


def _lowered(graph: IntegerGraph) -> Writer:
    writer = Writer(graph)
    for node in graph.nodes:
        importlib.import_module(f"edgecnn.ops.{op_file(node.op)}").to_onnx(node, writer)
    return writer


def to_model(
    graph: IntegerGraph, metadata: Mapping[str, str] | None = None, opset: int = OPSET, ir_version: int = IR_VERSION
) -> onnx.ModelProto:
    """Return ``graph`` as a checked ONNX model.

    Args:
        graph: The canonical graph.
        metadata: Goes to the model's metadata_props.
        opset: 18 or newer.
        ir_version: ONNX IR version that belongs to the opset.
    """
    writer = _lowered(graph)
    inputs = [_value_info(graph.spec(name)) for name in graph.inputs]
    outputs = [_value_info(graph.spec(name)) for name in graph.outputs]
    proto = helper.make_graph(writer.nodes, graph.name, inputs, outputs, list(writer.initializers.values()))
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, producer_name="edgecnn"
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model


def check(graph: IntegerGraph) -> None:
    """Lower ``graph`` and throw the result away; ONNX can express every operator."""
    _lowered(graph)


def write(graph: IntegerGraph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``graph`` to ``path`` as ONNX QDQ."""
    path.write_bytes(to_model(graph, metadata).SerializeToString(deterministic=True))


def read_grids(path: Path) -> dict[str, QuantParams]:
    """Read the grids back from an ONNX file: of every tensor that a Q or DQ node names.

    Raises:
        ModelError: If a tensor is written on one grid and read on another.
    """
    graph = onnx.load(path).graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    grids: dict[str, QuantParams] = {}
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            name = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            grid = _read_grid(node, constants)
            if grids.setdefault(name, grid) != grid:
                raise ModelError(f"{path.name}: tensor '{name}' is written on {grids[name]} and read on {grid}.")
    return grids


def _read_grid(node: onnx.NodeProto, constants: Mapping[str, Array]) -> QuantParams:
    scale, zero_point = constants[node.input[1]], constants[node.input[2]]
    if scale.ndim == 0:
        return QuantParams.per_tensor(float(scale), int(zero_point))
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    return QuantParams.per_channel(scale, axis)


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], spec.shape)
