"""Look at a float model, as it was imported or after any pass."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgecnn.errors import ModelError
from edgecnn.integer_graph import Array, Attribute
from edgecnn.ops import FloatNode, op_file
from edgecnn.report.network import Network, Pair, Shape, Step, window_of

# Operators whose geometry is spelt out by their own file, so that defaults and omitted inputs are known in one place.
_GEOMETRIC = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "ReduceMean", "ReduceMax"),
    *("Slice", "Transpose", "DepthToSpace", "Resize", "Concat"),
)
# Operators that compute with their constants; elsewhere a constant is a shape, an axis or a bound.
_COMPUTING = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "PRelu"),
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
)
# A batch norm has four constants; two are trained, the others are statistics.
_TRAINED = {"BatchNormalization": 2}


def read_model(model: ir.Model) -> Network:
    """Look at a float model with static shapes.

    Bytes are counted as they will be on the device, one an element.

    Raises:
        ModelError: If a value has no name or no static shape.
    """
    graph = model.graph
    held = {name: value.const_value for name, value in graph.initializers.items()}
    constants = {name: tensor.numpy() for name, tensor in held.items() if tensor is not None}
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    shapes = {_name(value): _shape(value) for value in values}
    inputs = tuple(_name(value) for value in graph.inputs if value.name not in constants)
    steps = tuple(_step(node, constants, shapes) for node in graph if node.op_type != "Constant")
    wide = {_name(value): 8 for value in values if value.dtype == ir.DataType.INT64}
    return Network(
        name=graph.name or "model",
        inputs=inputs,
        outputs=tuple(_name(value) for value in graph.outputs),
        steps=steps,
        shapes=shapes,
        widths=wide,
        image_axes=_image_axes(steps, inputs[0], shapes[inputs[0]]) if inputs else None,
    )


def _image_axes(steps: Sequence[Step], name: str, shape: Shape) -> Pair | None:
    """Rows and columns are the last axes, or those in the middle where the picture is at once brought to NCHW."""
    if len(shape) != 4:
        return None
    tensors = {name}
    for step in steps:
        if set(step.inputs) <= tensors and step.op in ("DequantizeLinear", "Cast"):
            tensors |= set(step.outputs)
    to_nchw = (step for step in steps if step.op == "Transpose" and step.ints("perm") == (0, 3, 1, 2))
    return (1, 2) if any(set(step.inputs) <= tensors for step in to_nchw) else (2, 3)


def _step(node: ir.Node, constants: Mapping[str, Array], shapes: Mapping[str, Shape]) -> Step:
    names = tuple("" if value is None else _name(value) for value in node.inputs)
    outputs = tuple(_name(value) for value in node.outputs if value.name)
    known = {name: shapes.get(name) or constants[name].shape for name in (*names, *outputs) if name}
    own = {name: constants[name] for name in names if name in constants}
    plain = FloatNode(node.name or outputs[0], node.op_type, names, outputs[0], _attributes(node), own, known)
    computing = list(own)[: _TRAINED.get(node.op_type)] if node.op_type in _COMPUTING else []
    weights = {name: constants[name].shape for name in computing}
    spelt = _spelt(plain)
    return Step(
        name=plain.name,
        op=node.op_type,
        inputs=tuple(name for name in names if name and name not in constants),
        outputs=outputs,
        constants=weights,
        attributes=spelt,
        window=window_of(node.op_type, spelt, next(iter(weights.values()), ())),
    )


def _spelt(node: FloatNode) -> Mapping[str, Attribute]:
    """Return the attributes with their defaults where the operator's file knows them."""
    if node.op not in _GEOMETRIC:
        return node.given
    module = importlib.import_module(f"edgecnn.ops.{op_file(node.op)}")
    try:
        attributes: dict[str, Attribute] = module.attributes(node, None)
    except (KeyError, IndexError):
        return node.given
    if node.text("auto_pad", "NOTSET").startswith("SAME") and len(node.output_shape) == 4:
        attributes["pads"] = _same_pads(node, attributes)
    return attributes


def _same_pads(node: FloatNode, attributes: Mapping[str, Attribute]) -> tuple[int, ...]:
    """Padding that ``auto_pad`` SAME asks for; source: ONNX Conv-11."""
    kernel = node.ints("kernel_shape") or node.shape(1)[2:]
    strides, dilations = (_ints(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    totals = [
        max((out - 1) * stride + (size - 1) * gap + 1 - given, 0)
        for out, stride, size, gap, given in zip(
            node.output_shape[2:], strides, kernel, dilations, node.shape(0)[2:], strict=True
        )
    ]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    before, after = (small, large) if node.text("auto_pad", "") == "SAME_UPPER" else (large, small)
    return (*before, *after)


def _ints(value: Attribute) -> Sequence[int]:
    return [int(item) for item in value] if isinstance(value, tuple) else []


def _attributes(node: ir.Node) -> dict[str, Attribute]:
    values = {name: attribute.value for name, attribute in node.attributes.items()}
    plain: dict[str, Attribute] = {
        name: value for name, value in values.items() if isinstance(value, (int, float, str))
    }
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, (list, tuple))}
    return plain | {name: value for name, value in lists.items() if all(isinstance(v, (int, float)) for v in value)}


def _name(value: ir.Value) -> str:
    if value.name is None:
        raise ModelError("a value of the graph has no name")
    return value.name


def _shape(value: ir.Value) -> Shape:
    if value.shape is None or not value.shape.is_static():
        raise ModelError(f"value '{value.name}' has no static shape: {value.shape}")
    return tuple(int(size) for size in value.shape.numpy())
