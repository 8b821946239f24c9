"""Bring half- and double-precision models to float32, which everything behind computes in."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

OTHER_FLOATS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
TYPE_ATTRIBUTES = ("to", "dtype")


def to_float32(model: ir.Model) -> bool:
    """Make float32 of every float16, bfloat16 and float64 value of ``model``, in place.

    Half precision becomes exact float32; double precision is rounded. Only the main graph is changed.

    Returns:
        Whether there was anything to change.
    """
    modified = False
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        modified |= _convert_value(value)
    for node in model.graph:
        for value in node.outputs:
            modified |= _convert_value(value)
        for attribute in list(node.attributes.values()):
            modified |= _convert_attribute(node, attribute)
    return modified


def _convert_value(value: ir.Value) -> bool:
    if value.dtype not in OTHER_FLOATS:
        return False
    if value.const_value is not None:
        value.const_value = _float32(value.const_value)
    value.dtype = ir.DataType.FLOAT
    return True


def _convert_attribute(node: ir.Node, attribute: ir.Attr) -> bool:
    if attribute.name in TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT:
        if ir.DataType(attribute.as_int()) not in OTHER_FLOATS:
            return False
        node.attributes.add(ir.AttrInt64(attribute.name, int(ir.DataType.FLOAT)))
        return True
    if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in OTHER_FLOATS:
        node.attributes.add(ir.AttrTensor(attribute.name, _float32(attribute.as_tensor())))
        return True
    return False


def _float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)
