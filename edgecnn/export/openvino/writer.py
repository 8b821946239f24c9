"""Builds an OpenVINO model node by node; what the lowering functions see of it is the class `Writer`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13 as ops

from edgecnn.errors import Refusal, UnsupportedError
from edgecnn.export.openvino import lowering
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.ops import op_file
from edgecnn.tensor import QuantParams

# An OpenVINO output; the package has no usable type information.
Value = Any
# Gives the value of an integer of the tensor's grid: itself on uint8 tensors, a real number on dequantised ones.
Level = Callable[[int], Value]
Move = Callable[[Sequence[Value], Level], Value]

LEVELS = 256
WHOLE_RANGE = (np.float32(0), np.float32(LEVELS - 1))
OUTPUT_GRIDS = ["edgecnn", "output_grids"]
# Stands in the names of nodes that are no tensor of the canonical graph.
UNNAMED = "#"
TYPES = {"uint8": openvino.Type.u8, "int64": openvino.Type.i64}


class Writer:
    """Collects the OpenVINO form of an integer graph.

    Every activation has a dequantised form, which `real` returns, and an integer form, which only graph outputs use.
    Data movement is written on the former, and on the latter too where an output needs it.
    """

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self._reals: dict[str, Value] = {}
        self._integers: dict[str, Callable[[], Value]] = {}
        self._declared: dict[str, tuple[float, int]] = {}
        self._names: set[str] = set()
        self._readers: dict[str, list[IntegerNode]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def lower(self) -> Any:
        """Write all nodes and return the `openvino.Model`.

        Raises:
            UnsupportedError: With all nodes that have no OpenVINO form.
        """
        functions = _lowerings(self.graph)
        parameters = [self._parameter(name) for name in self.graph.inputs]
        for node in self.graph.nodes:
            functions[node.op](node, self)
        results = [self._result(name) for name in self.graph.outputs]
        model = openvino.Model(results, parameters, self.graph.name)
        self._name_nodes(model)
        model.set_rt_info(json.dumps(self._declared, sort_keys=True), OUTPUT_GRIDS)
        return model

    def leads_to(self, name: str, operators: Collection[str], through: Collection[str]) -> bool:
        """Tell whether any of ``operators`` reads tensor ``name``, itself or behind others of kind ``through``."""
        return any(
            node.op in operators or (node.op in through and self.leads_to(node.output, operators, through))
            for node in self._readers.get(name, ())
        )

    def real(self, name: str) -> Value:
        """Return tensor ``name`` dequantised: an activation, or a constant on a per-tensor grid."""
        return self.constant(name) if name in self.graph.constants else self._reals[name]

    def constant(self, name: str, array: Array | None = None, scale_shape: Sequence[int] = ()) -> Value:
        """Return constant ``name`` dequantised, its integers kept as they are.

        Args:
            name: Of a constant.
            array: Its integers in the form that OpenVINO wants, None for as they are.
            scale_shape: Shape of its scales in that form, () for one scale.
        """
        grid = self.graph.spec(name).grid
        integers = ops.constant(self.graph.constants[name] if array is None else np.ascontiguousarray(array))
        self._name(integers, name)
        return self._dequantised(integers, grid.zero_point, _float(grid.scales.reshape(tuple(scale_shape))))

    def move(self, node: IntegerNode, function: Move) -> None:
        """Write ``node`` as data movement.

        Args:
            node: A node whose activations share one grid, or have none.
            function: Given the inputs and the value of an integer of their grid, returns the output.
        """
        grid = self.graph.spec(node.output).quant
        self._integers[node.output] = lambda: function(
            [self._integer_form(name) for name in node.inputs], lambda integer: ops.constant(np.uint8(integer))
        )
        if grid is not None:
            zero_point, scale = grid.zero_point, np.float32(grid.scale[0])
            inputs = [self.real(name) for name in node.inputs]
            output = function(inputs, lambda integer: _float(np.float32(integer - zero_point) * scale))
            self._name(output, node.output)
            self._reals[node.output] = output

    def levels(self, name: str) -> Value:
        """Return the integers of tensor ``name`` as float32, exactly: real / scale + zero point, rounded."""
        grid = self.graph.spec(name).grid
        scaled = ops.multiply(self.real(name), _float(np.float32(1) / np.float32(grid.scale[0])))
        return ops.round(ops.add(scaled, _float(grid.zero_point)), "half_to_even")

    def quantise(self, node: IntegerNode, value: Value) -> None:
        """Quantise the real ``value`` onto the output grid of ``node``."""
        self._store(node, value, range_ends(self.graph.spec(node.output).grid))

    def round_levels(self, node: IntegerNode, value: Value) -> None:
        """Take float32 ``value``, rounded, as the integers of the output of ``node``."""
        self._store(node, value, WHOLE_RANGE)

    def _store(self, node: IntegerNode, value: Value, ends: tuple[np.float32, np.float32]) -> None:
        grid = self.graph.spec(node.output).grid
        scale = _float(grid.scales.reshape(()))
        rounded = ops.fake_quantize(value, _float(ends[0]), _float(ends[1]), *map(_float, WHOLE_RANGE), LEVELS)
        integers = ops.convert(rounded, "u8")
        self._name(integers, node.output)
        self._integers[node.output] = lambda: integers
        self._reals[node.output] = self._dequantised(integers, grid.zero_point, scale)

    def indices(self, node: IntegerNode, value: Value) -> None:
        """Take ``value`` as the output of ``node``, which is not quantised."""
        self._name(value, node.output)
        self._integers[node.output] = lambda: value

    def calculation(self, node: IntegerNode, value: Value) -> Value:
        """Return ``value``, named after ``node``: by this name execution graphs and profiles list it."""
        self._name(value, f"{node.name}{UNNAMED}{node.op}")
        return value

    def _parameter(self, name: str) -> Any:
        spec = self.graph.spec(name)
        parameter = ops.parameter(list(spec.shape), TYPES[spec.dtype])
        self._name(parameter, name)
        parameter.output(0).get_tensor().set_names({name})
        self._integers[name] = lambda: parameter
        self._reals[name] = self._dequantised(parameter, spec.grid.zero_point, _float(spec.grid.scales.reshape(())))
        return parameter

    def _result(self, name: str) -> Any:
        value = self._integer_form(name)
        value.output(0).get_tensor().set_names({name})
        return ops.result(value)

    def _integer_form(self, name: str) -> Value:
        """Return the integers of a tensor, and note its grid: nothing says the scale of a tensor that is not read."""
        grid = self.graph.spec(name).quant
        if grid is not None:
            self._declared[name] = (grid.scale[0], grid.zero_point)
        if name in self.graph.constants:
            return ops.constant(self.graph.constants[name])
        return self._integers[name]()

    def _name(self, value: Value, name: str) -> None:
        value.set_friendly_name(name)
        self._names.add(name)

    def _name_nodes(self, model: Any) -> None:
        """Give nodes without a name of ours one that depends on their place alone, so that files can be compared."""
        left = set(self._names)
        for index, node in enumerate(model.get_ordered_ops()):
            if node.get_friendly_name() in left:
                left.remove(node.get_friendly_name())
            else:
                node.set_friendly_name(f"{node.get_type_name()}{UNNAMED}{index}")

    def _dequantised(self, integers: Value, zero_point: int, scale: Value) -> Value:
        value = ops.convert(integers, "f32")
        if zero_point:
            value = ops.subtract(value, _float(zero_point))
        return ops.multiply(value, scale)


def range_ends(grid: QuantParams) -> tuple[np.float32, np.float32]:
    """Return the real values of the integers 0 and 255."""
    low, high = (np.float32(end - grid.zero_point) * np.float32(grid.scale[0]) for end in (0, LEVELS - 1))
    return low, high


def _lowerings(graph: IntegerGraph) -> dict[str, Callable[[IntegerNode, Writer], None]]:
    """Return the function that lowers it by operator.

    Raises:
        UnsupportedError: With all nodes whose operator has none.
    """
    names = {node.op: f"lower_{op_file(node.op)}" for node in graph.nodes}
    functions = {op: getattr(lowering, name) for op, name in names.items() if hasattr(lowering, name)}
    refusals = [
        Refusal(node.op, node.name, "It has no OpenVINO form.", "Write it with other operators.")
        for node in graph.nodes
        if node.op not in functions
    ]
    if refusals:
        raise UnsupportedError(refusals, "openvino")
    return functions


def _float(value: npt.ArrayLike) -> Value:
    return ops.constant(np.asarray(value, np.float32))


__all__ = ["Array", "Writer"]
