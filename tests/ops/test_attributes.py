"""What the operators read from float nodes in normal form."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

from edgecnn import plugins
from edgecnn.ops import FloatNode, Operand, op_file
from edgecnn.tensor import QuantParams, TensorSpec

GRID = QuantParams.per_tensor(0.1, 100)


def float_node(
    op: str, shape: tuple[int, ...], *arguments: object, output: tuple[int, ...] | None = None, **given: object
) -> FloatNode:
    """Make a node that reads x of ``shape`` and constants; None stands for an omitted input."""
    constants = {f"c{index}": np.asarray(item) for index, item in enumerate(arguments) if item is not None}
    inputs = ("x", *(f"c{index}" if item is not None else "" for index, item in enumerate(arguments)))
    shapes = {"x": shape, "y": output or shape} | {name: array.shape for name, array in constants.items()}
    return FloatNode("n", op, inputs, "y", given, constants, shapes)


def attributes_of(node: FloatNode, grid: QuantParams | None = GRID):
    return importlib.import_module(f"edgecnn.ops.{op_file(node.op)}").attributes(node, grid)


def test_file_names_of_operators():
    assert [op_file(op) for op in ("Add", "MaxPool", "PRelu", "DepthToSpace", "ConvTranspose")] == [
        "add",
        "max_pool",
        "p_relu",
        "depth_to_space",
        "conv_transpose",
    ]


@pytest.mark.parametrize("name", plugins.discover("edgecnn.ops"))
def test_every_operator_file_says_all_that_is_asked_of_it(name):
    module = plugins.load("edgecnn.ops", name)
    assert module.GRID in ("own", "shared", "fixed", "none")
    assert module.OPERANDS is None or module.OPERANDS >= 1
    assert all(callable(getattr(module, item)) for item in ("attributes", "reference", "to_onnx", "to_tflite"))
    assert hasattr(module, "FIXED") == (module.GRID == "fixed")


def test_defaults_of_conv_are_spelled_out():
    expected = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    assert attributes_of(float_node("Conv", (1, 3, 8, 8))) == expected


def test_conv_attributes_are_taken_over():
    given = {"strides": (2, 1), "pads": (1, 0, 2, 3), "dilations": (1, 2), "group": 3}
    assert attributes_of(float_node("Conv", (1, 3, 8, 8), **given)) == given


def test_defaults_of_conv_transpose_are_spelled_out():
    attributes = attributes_of(float_node("ConvTranspose", (1, 3, 8, 8), strides=(2, 2)))
    assert attributes == {
        "strides": (2, 2),
        "pads": (0, 0, 0, 0),
        "output_padding": (0, 0),
        "dilations": (1, 1),
        "group": 1,
    }


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools(op):
    attributes = attributes_of(float_node(op, (1, 3, 8, 8), kernel_shape=(3, 2)))
    assert attributes == {"kernel": (3, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)}


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_axes_are_an_input_or_an_attribute_or_all(op):
    shape = (1, 3, 8, 8)
    assert attributes_of(float_node(op, shape, [-1, 2])) == {"axes": (2, 3), "keepdims": 1}
    assert attributes_of(float_node(op, shape, axes=(1,), keepdims=0)) == {"axes": (1,), "keepdims": 0}
    assert attributes_of(float_node(op, shape)) == {"axes": (0, 1, 2, 3), "keepdims": 1}


@pytest.mark.parametrize(("op", "default"), [("Concat", 0), ("Softmax", 3), ("ArgMax", 0)])
def test_axes_are_counted_from_the_front(op, default):
    assert attributes_of(float_node(op, (1, 3, 8, 8), axis=-3), None)["axis"] == 1
    assert attributes_of(float_node(op, (1, 3, 8, 8)), None)["axis"] == default


def test_slice_bounds_are_clamped_and_complete():
    node = float_node("Slice", (1, 8, 10, 12), [2, -3], [2**31, 2**62], [1, -1], [3, 1], output=(1, 2, 10, 3))
    attributes = attributes_of(node)
    assert attributes == {"starts": (0, 2, 0, 9), "ends": (1, 8, 10, 12), "steps": (1, 3, 1, 1)}


def test_slice_without_axes_and_steps():
    node = float_node("Slice", (4, 6), [1, 2], [3, 100])
    assert attributes_of(node) == {"starts": (1, 2), "ends": (3, 6), "steps": (1, 1)}


def test_resize_sizes_come_from_the_shape():
    node = float_node(
        "Resize",
        (1, 3, 8, 8),
        output=(1, 3, 16, 20),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    )
    assert attributes_of(node) == {
        "sizes": (16, 20),
        "mode": "linear",
        "coordinates": "half_pixel",
        "rounding": "round_prefer_floor",
    }


@pytest.mark.parametrize(
    ("bounds", "integers"),
    [((0.0, 6.0), (100, 160)), ((None, 6.0), (0, 160)), ((0.0, None), (100, 255)), ((-99.0, 99.0), (0, 255))],
)
def test_clip_ends_are_integers_on_the_grid(bounds, integers):
    assert attributes_of(float_node("Clip", (1, 3), *bounds)) == {"low": integers[0], "high": integers[1]}


def test_a_relu_is_a_clip_from_zero():
    module = importlib.import_module("edgecnn.ops.clip")
    assert float_node("Relu", (1, 3)).bounds() == (0.0, math.inf)
    assert module.attributes(float_node("Relu", (1, 3)), GRID) == {"low": 100, "high": 255}


def test_pad_fills_with_an_integer_on_the_grid():
    pads = [0, 0, 1, 2, 0, 0, 3, 4]
    assert attributes_of(float_node("Pad", (1, 3, 8, 8), pads)) == {
        "pads": tuple(pads),
        "mode": "constant",
        "value": 100,
    }
    assert attributes_of(float_node("Pad", (1, 3, 8, 8), pads, -1.0))["value"] == 90
    assert attributes_of(float_node("Pad", (1, 3, 8, 8), pads, 1e9, mode="reflect")) == {
        "pads": tuple(pads),
        "mode": "reflect",
        "value": 255,
    }


@pytest.mark.parametrize("op", ["Clip", "Pad"])
def test_an_end_or_a_fill_needs_a_grid(op):
    with pytest.raises(ValueError, match=f"{op} 'n' needs a grid"):
        attributes_of(float_node(op, (1, 3), [0, 0, 0, 0]), None)


def test_the_rest():
    assert attributes_of(float_node("Reshape", (1, 3, 8), output=(1, 24))) == {"shape": (1, 24)}
    assert attributes_of(float_node("Transpose", (1, 3, 8))) == {"perm": (2, 1, 0)}
    assert attributes_of(float_node("Transpose", (1, 3, 8), perm=(0, 2, 1))) == {"perm": (0, 2, 1)}
    assert attributes_of(float_node("DepthToSpace", (1, 4, 8, 8), blocksize=2)) == {"blocksize": 2, "mode": "DCR"}
    assert attributes_of(float_node("LeakyRelu", (1, 4))) == {"alpha": 0.01}
    for op in ("Add", "Sub", "Mul", "Gemm", "PRelu", "Requantize", "Sigmoid", "Tanh"):
        assert attributes_of(float_node(op, (1, 4))) == {}


def test_a_number_must_be_one():
    with pytest.raises(TypeError, match="LeakyRelu 'n': attribute 'alpha' must be a number, got 'x'"):
        attributes_of(float_node("LeakyRelu", (1, 4), alpha="x"))


def test_an_operands_offset_does_not_wrap():
    operand = Operand(np.asarray([0, 255], np.uint8), TensorSpec("x", (2,), "uint8", QuantParams.per_tensor(0.5, 200)))
    assert operand.offset().tolist() == [-200, 55]
    assert operand.real().tolist() == [-100.0, 27.5]
