"""Turn weights that a file stores as integers into the float weights that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]
KINDS = ("QuantizeLinear", "DequantizeLinear")


def unpack_stored_integers(model: ir.Model) -> bool:
    """Compute every DequantizeLinear of a constant, and every QuantizeLinear of one in front of it, in place.

    That is how exporters shrink a file (weight-only quantisation), and what is left of fake quantisation after training
    with it. Activations that are quantised stay, to be refused.

    Args:
        model: A model whose constants are initialisers.

    Returns:
        Whether there was anything to compute.
    """
    modified = False
    for node in list(model.graph):
        if node.op_type in KINDS and node.domain == "" and _is_constant(node):
            modified |= _compute(model.graph, node)
    return modified


def _is_constant(node: ir.Node) -> bool:
    return all(value is None or value.const_value is not None for value in node.inputs)


def _compute(graph: ir.Graph, node: ir.Node) -> bool:
    data, scale, zero_point = (_operand(node, index) for index in range(3))
    if data is None or scale is None:
        return False
    factors = _aligned(node, scale.astype(np.float32), data)
    offsets = None if zero_point is None else _aligned(node, zero_point.astype(np.float32), data)
    if node.op_type == "DequantizeLinear":
        result: Array = (data.astype(np.float32) - (0 if offsets is None else offsets)) * factors
    else:
        kind = np.dtype(np.uint8) if zero_point is None else zero_point.dtype
        if kind.name not in ("uint8", "int8"):
            return False
        ends, levels = np.iinfo(kind), np.rint(data / factors) + (0 if offsets is None else offsets)
        result = np.clip(levels, ends.min, ends.max).astype(kind)
    _replace(graph, node, result)
    return True


def _operand(node: ir.Node, index: int) -> Array | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _aligned(node: ir.Node, parameter: Array, data: Array) -> Array:
    """Return scale or zero point so that it broadcasts to ``data``: per tensor, per axis or per block of an axis.

    Source: ONNX DequantizeLinear-21.
    """
    if parameter.size == 1:
        return parameter.reshape(())
    axis, block = node.attributes.get_int("axis", 1) % data.ndim, node.attributes.get_int("block_size", 0)
    if block:
        return np.repeat(parameter, block, axis).take(range(data.shape[axis]), axis)
    return parameter.reshape([-1 if index == axis else 1 for index in range(data.ndim)])


def _replace(graph: ir.Graph, node: ir.Node, content: Array) -> None:
    old = node.outputs[0]
    name, old.name = old.name, f"{old.name}/stored"
    tensor = ir.tensor(np.asarray(content), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(content.shape), const_value=tensor)
    graph.register_initializer(value)
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
