from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgecnn.errors import UnsupportedError
from edgecnn.passes.pipeline import normalise
from edgecnn.passes.rewrite import array, integers

RNG = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IN = "float[1,4,8,8] x"
# name: (outputs, body, constants, operators expected)
CASES = {
    "identity": ("float[1,4,8,8] y", "a = Identity (x) b = Relu (a) y = Dropout (b)", {}, {"Relu": 1}),
    "neutral": (
        "float[1,4,8,8] y",
        "a = Mul (x, one) b = Relu (a) y = Add (zero, b)",
        {"one": np.float32(1), "zero": np.float32(0)},
        {"Relu": 1},
    ),
    "only identity": ("float[1,4,8,8] y", "y = Identity (x)", {}, {"Reshape": 1}),
    "flatten": ("float[1,256] y", "y = Flatten (x)", {}, {"Reshape": 1}),
    "reshape with 0 and -1": ("float[1,256] y", "y = Reshape (x, s)", {"s": ints(0, -1)}, {"Reshape": 1}),
    "squeeze and unsqueeze": (
        "float[1,4,8,8] y",
        "a = Squeeze (x, z) b = Relu (a) y = Unsqueeze (b, z)",
        {"z": ints(0)},
        {"Reshape": 2, "Relu": 1},
    ),
    "split": ("float[1,3,8,8] a, float[1,1,8,8] b", "a, b = Split <axis = -3> (x, s)", {"s": ints(3, 1)}, {"Slice": 2}),
    "split, one part unread": ("float[1,2,8,8] y", "y, b = Split <axis = 1, num_outputs = 2> (x)", {}, {"Slice": 1}),
    "slice from the end": (
        "float[1,4,3,8] y",
        "y = Slice (x, b, e, a)",
        {"b": ints(-3), "e": ints(2**62), "a": ints(-2)},
        {"Slice": 1},
    ),
    "slice with steps": (
        "float[1,4,4,8] y",
        "y = Slice (x, b, e, a, s)",
        {"b": ints(1), "e": ints(99), "a": ints(2), "s": ints(2)},
        {"Slice": 1},
    ),
    "slice of everything": (
        "float[1,4,8,8] y",
        "a = Slice (x, b, e, a2) y = Relu (a)",
        {"b": ints(0), "e": ints(99), "a2": ints(1)},
        {"Relu": 1},
    ),
    "gather one": ("float[1,8,8] y", "y = Gather <axis = 1> (x, i)", {"i": np.int64(2)}, {"Slice": 1, "Reshape": 1}),
    "gather run": ("float[1,2,8,8] y", "y = Gather <axis = 1> (x, i)", {"i": ints(-3, -1)}, {"Slice": 1}),
    "gather channels before a conv": (
        "float[1,2,8,8] y",
        "a = Gather <axis = 1> (x, i) y = Conv <pads = [1,1,1,1]> (a, w)",
        {"i": ints(3, 0, 3), "w": floats(2, 3, 3, 3)},
        {"Conv": 1},
    ),
    "gather channels": ("float[1,3,8,8] y", "y = Gather <axis = 1> (x, i)", {"i": ints(3, 0, -2)}, {"Conv": 1}),
    "flip channels": (
        "float[1,4,8,8] y",
        "y = Slice (x, b, e, a, s)",
        {"b": ints(-1), "e": ints(-(2**62)), "a": ints(1), "s": ints(-1)},
        {"Conv": 1},
    ),
    "flip some channels": (
        "float[1,2,8,8] y",
        "y = Slice (x, b, e, a, s)",
        {"b": ints(2), "e": ints(0), "a": ints(1), "s": ints(-1)},
        {"Conv": 1},
    ),
    "conv on lines, batch norm, pools": (
        "float[1,2,16] y",
        "r = Reshape (x, s) c = Conv <strides = [2], pads = [1, 0]> (r, w) n = BatchNormalization (c, v, v, v, v) "
        'u = Relu (n) m = MaxPool <kernel_shape = [3], auto_pad = "SAME_UPPER"> (u) '
        "p = AveragePool <kernel_shape = [2], strides = [2], pads = [0, 1], count_include_pad = 1> (m) "
        "y = ConvTranspose <strides = [2]> (p, t)",
        {"s": ints(1, 4, 64), "w": floats(2, 4, 34), "v": np.array([1, 2], np.float32), "t": floats(2, 2, 2)},
        {"Reshape": 4, "Conv": 1, "Relu": 1, "MaxPool": 1, "Pad": 1, "AveragePool": 1, "ConvTranspose": 1},
    ),
    "space to depth": ("float[1,16,4,4] y", "y = SpaceToDepth <blocksize = 2> (x)", {}, {"Slice": 4, "Concat": 1}),
    "depth to space": ("float[1,1,16,16] y", "y = DepthToSpace <blocksize = 2> (x)", {}, {"DepthToSpace": 1}),
    "global pools": (
        "float[1,4,1,1] y",
        "a = GlobalAveragePool (x) b = GlobalMaxPool (x) y = Add (a, b)",
        {},
        {"ReduceMean": 1, "ReduceMax": 1, "Add": 1},
    ),
    "reduce sum": (
        "float[1,4] y",
        "y = ReduceSum <keepdims = 0> (x, a)",
        {"a": ints(-1, -2)},
        {"ReduceMean": 1, "Mul": 1},
    ),
    "reduce over the batch": (
        "float[4,8] y",
        "y = ReduceMean <keepdims = 0> (x, a)",
        {"a": ints(-1, 0)},
        {"ReduceMean": 1, "Reshape": 1},
    ),
    "reduce everything": ("float[1,1,1,1] y", "y = ReduceMax (x)", {}, {"ReduceMax": 1}),
    "div": ("float[1,4,8,8] y", "y = Div (x, d)", {"d": np.float32(4)}, {"Mul": 1}),
    "div per channel": (
        "float[1,4,8,8] y",
        "y = Div (x, d)",
        {"d": np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1)},
        {"Conv": 1},
    ),
    "constant minus x": ("float[1,4,8,8] y", "y = Sub (one, x)", {"one": np.float32(1)}, {"Conv": 1}),
    "neg and pow": ("float[1,4,8,8] y", "a = Neg (x) y = Pow (a, two)", {"two": np.float32(2)}, {"Mul": 2}),
    "sum and mean": (
        "float[1,4,8,8] y",
        "a = Relu (x) b = Tanh (x) s = Sum (a, b, x) y = Mean (s, a)",
        {},
        {"Relu": 1, "Tanh": 1, "Add": 3, "Mul": 1},
    ),
    "sum of one": ("float[1,4,8,8] y", "a = Sum (x) y = Relu (a)", {}, {"Relu": 1}),
    "relu6 from parts": ("float[1,4,8,8] y", "a = Relu (x) y = Min (six, a)", {"six": np.float32(6)}, {"Clip": 1}),
    "clip without low": ("float[1,4,8,8] y", "y = Clip (x, , six)", {"six": np.float32(6)}, {"Clip": 1}),
    "clip without high, times two": (
        "float[1,4,8,8] y",
        "a = Add (x, one) b = Clip (a, one) y = Mul (b, two)",
        {"one": np.float32(1), "two": np.float32(2)},
        {"Add": 1, "Clip": 1, "Mul": 1},
    ),
    "clip that is relu": ("float[1,4,8,8] y", "y = Clip (x, zero)", {"zero": np.float32(0)}, {"Relu": 1}),
    "max is relu": ("float[1,4,8,8] y", "y = Max (x, zero)", {"zero": np.float32(0)}, {"Relu": 1}),
    "clips that miss each other": (
        "float[1,4,8,8] y",
        "a = Clip (x, p, q) y = Clip (a, r, s)",
        {"p": np.float32(-1), "q": np.float32(0), "r": np.float32(0.5), "s": np.float32(1)},
        {"Clip": 1},
    ),
    "hard sigmoid": ("float[1,4,8,8] y", "y = HardSigmoid <alpha = 0.3> (x)", {}, {"Conv": 1, "Clip": 1}),
    "hard swish": ("float[1,4,8,8] y", "y = HardSwish (x)", {}, {"Conv": 1, "Clip": 1, "Mul": 1}),
    "old hard swish": (
        "float[1,4,8,8] y",
        "a = Add (x, three) b = Clip (a, zero, six) c = Mul (x, b) y = Div (c, six)",
        {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
        {"Conv": 1, "Clip": 1, "Mul": 1},
    ),
    "old hard sigmoid": (
        "float[1,4,8,8] y",
        "a = Add (three, x) b = Clip (a, zero, six) y = Div (b, six)",
        {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
        {"Conv": 1, "Clip": 1},
    ),
    "hard swish of rank 2": (
        "float[1,256] y",
        "f = Flatten (x) y = HardSwish (f)",
        {},
        {"Reshape": 1, "Mul": 2, "Add": 1, "Clip": 1},
    ),
    "prelu": ("float[1,4,8,8] y", "y = PRelu (x, s)", {"s": floats(1, 4, 1, 1)}, {"PRelu": 1}),
    "expand": (
        "float[1,4,8,8] y",
        "a = ReduceMean (x, ax) e = Expand (a, s) y = Mul (x, e)",
        {"ax": ints(2, 3), "s": ints(1, 4, 8, 8)},
        {"ReduceMean": 1, "Mul": 1},
    ),
    "pad into conv": (
        "float[1,2,8,8] y",
        "p = Pad (x, p4) y = Conv (p, w)",
        {"p4": ints(0, 0, 1, 0, 0, 0, 1, 2), "w": floats(2, 4, 3, 3)},
        {"Conv": 1},
    ),
    "pad with another value stays": (
        "float[1,2,8,8] y",
        "p = Pad (x, p4, v) y = Conv (p, w)",
        {"p4": ints(0, 0, 1, 1, 0, 0, 1, 1), "v": np.float32(1), "w": floats(2, 4, 3, 3)},
        {"Pad": 1, "Conv": 1},
    ),
    "reflect pad stays": (
        "float[1,2,8,8] y",
        'p = Pad <mode = "reflect"> (x, p4) y = Conv (p, w)',
        {"p4": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": floats(2, 4, 3, 3)},
        {"Pad": 1, "Conv": 1},
    ),
    "pad by axes that crops": (
        "float[1,4,7,9] y",
        "y = Pad (x, p, , ax)",
        {"p": ints(-1, 1, 0, 0), "ax": ints(2, -1)},
        {"Slice": 1, "Pad": 1},
    ),
    "pad into max pool behind relu": (
        "float[1,4,4,4] y",
        "r = Relu (x) p = Pad (r, p4) y = MaxPool <kernel_shape = [3,3], strides = [2,2]> (p)",
        {"p4": ints(0, 0, 0, 0, 0, 0, 1, 1)},
        {"Relu": 1, "MaxPool": 1},
    ),
    "pad into max pool of anything stays": (
        "float[1,4,4,4] y",
        "p = Pad (x, p4) y = MaxPool <kernel_shape = [3,3], strides = [2,2]> (p)",
        {"p4": ints(0, 0, 0, 0, 0, 0, 1, 1)},
        {"Pad": 1, "MaxPool": 1},
    ),
    "same upper": (
        "float[1,2,4,4] y",
        'y = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w)',
        {"w": floats(2, 4, 3, 3)},
        {"Conv": 1},
    ),
    "same lower": (
        "float[1,2,4,4] y",
        'y = Conv <auto_pad = "SAME_LOWER", strides = [2,2]> (x, w)',
        {"w": floats(2, 4, 3, 3)},
        {"Conv": 1},
    ),
    "valid": ("float[1,2,6,6] y", 'y = Conv <auto_pad = "VALID"> (x, w)', {"w": floats(2, 4, 3, 3)}, {"Conv": 1}),
    "transposed, output shape": (
        "float[1,2,16,16] y",
        "y = ConvTranspose <strides = [2,2], output_shape = [16,16]> (x, w)",
        {"w": floats(4, 2, 3, 3)},
        {"ConvTranspose": 1},
    ),
    "transposed, groups with a bias": (
        "float[1,6,17,17] y",
        "a = ConvTranspose <group = 2, strides = [2,2], dilations = [1,1]> (x, w, b) y = Relu (a)",
        {"w": floats(4, 3, 3, 3), "b": floats(6)},
        {"ConvTranspose": 1, "Relu": 1},
    ),
    "transposed, depthwise with a multiplier": (
        "float[1,8,9,9] y",
        "y = ConvTranspose <group = 4> (x, w)",
        {"w": floats(4, 2, 2, 2)},
        {"ConvTranspose": 1},
    ),
    "transposed, groups of lines": (
        "float[1,6,33] y",
        "a = Reshape (x, s) y = ConvTranspose <group = 2, strides = [1]> (a, w)",
        {"w": floats(8, 3, 2), "s": ints(1, 8, 32)},
        {"Reshape": 2, "ConvTranspose": 1},
    ),
    "max pool, ceil": (
        "float[1,4,4,4] y",
        "y = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)",
        {},
        {"MaxPool": 1},
    ),
    "average pool, ceil": (
        "float[1,4,4,4] y",
        "y = AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)",
        {},
        {"AveragePool": 1},
    ),
    "average pool that counts its padding": (
        "float[1,4,8,8] y",
        "y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (x)",
        {},
        {"Pad": 1, "AveragePool": 1},
    ),
    "resize by scales": (
        "float[1,4,16,16] y",
        'y = Resize <mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric"> (x, , s)',
        {"s": np.array([1, 1, 2, 2], np.float32)},
        {"Resize": 1},
    ),
    "resize, pytorch": (
        "float[1,4,12,20] y",
        'y = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (x, , , s)',
        {"s": ints(1, 4, 12, 20)},
        {"Resize": 1},
    ),
    "matmul of rank 3": (
        "float[1,32,5] y",
        "r = Reshape (x, s) m = MatMul (r, w) y = Add (m, b)",
        {"s": ints(1, 32, 8), "w": floats(8, 5), "b": floats(5)},
        {"Reshape": 2, "Gemm": 1},
    ),
    "gemm in every spelling": (
        "float[1,5] y",
        "f = Flatten (x) y = Gemm <alpha = 0.5, beta = 2.0> (f, w, b)",
        {"w": floats(256, 5), "b": floats(1, 5)},
        {"Reshape": 1, "Gemm": 1},
    ),
    "double transpose": (
        "float[1,4,8,8] y",
        "a = Transpose <perm = [0,2,3,1]> (x) b = Relu (a) c = Add (b, k) y = Transpose <perm = [0,3,1,2]> (c)",
        {"k": floats(4)},
        {"Relu": 1, "Conv": 1},
    ),
    "softmax and argmax": (
        "int64[1,1,8,8] y",
        "a = Softmax <axis = 1> (x) y = ArgMax <axis = 1> (a)",
        {},
        {"ArgMax": 1},
    ),
    "softmax along another axis": (
        "int64[1,1,8,8] y",
        "a = Softmax <axis = 2> (x) y = ArgMax <axis = 1> (a)",
        {},
        {"Softmax": 1, "ArgMax": 1},
    ),
    "log softmax, argmax, squeeze": (
        "int64[1,8,8] y",
        "a = LogSoftmax <axis = 1> (x) b = ArgMax <axis = 1> (a) y = Squeeze (b, one)",
        {"one": ints(1)},
        {"ArgMax": 1},
    ),
    "silu": ("float[1,4,8,8] y", "s = Sigmoid (x) y = Mul (s, x)", {}, {"Sigmoid": 1, "Mul": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_rewrite_keeps_the_outputs(name, text_model, normalised) -> None:
    outputs, body, constants, expected = CASES[name]
    model = text_model(f"g ({IN}) => ({outputs}) {{ {body} }}", **constants)
    assert normalised(model).ops == expected


def test_slice_has_one_bound_per_dimension(text_model, normalised) -> None:
    model = text_model(
        f"g ({IN}) => (float[1,4,4,8] y) {{ y = Slice (x, b, e, a, s) }}", b=ints(-7), e=ints(99), a=ints(-2), s=ints(2)
    )
    node = normalised(model).node("Slice")
    found = [integers(node, index) for index in range(1, 5)]
    assert found == [(0, 0, 1, 0), (1, 4, 8, 8), (0, 1, 2, 3), (1, 1, 2, 1)]


def test_conv_has_every_attribute_and_a_bias(text_model, normalised) -> None:
    model = text_model(
        f'g ({IN}) => (float[1,2,4,4] y) {{ y = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w) }}',
        w=floats(2, 4, 3, 3),
    )
    node = normalised(model).node("Conv")
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    assert given == {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (0, 0, 1, 1), "dilations": (1, 1), "group": 1}
    assert array(node.inputs[2]).shape == (2,)


def test_same_padding_with_dilation(text_model) -> None:
    # ONNX Runtime itself refuses SAME with dilation, so there is no output to compare with.
    model = text_model(
        f'g ({IN}) => (float[1,2,8,8] y) {{ y = Conv <auto_pad = "SAME_UPPER", dilations = [2,3]> (x, w) }}',
        w=floats(2, 4, 3, 3),
    )
    normalise(model)
    assert tuple(next(iter(model.graph)).attributes["pads"].as_ints()) == (2, 3, 2, 3)


REFUSED = {
    "y = Slice (x, b, e, a, s)": ("Slice", "backwards"),
    'y = Pad <mode = "wrap"> (x, p4)': ("Pad", "wrap", "float[1,4,10,10] y"),
    'y = Resize <mode = "cubic"> (x, , , size)': ("Resize", "cubic", "float[1,4,16,16] y"),
    'y = Resize <mode = "linear", antialias = 1> (x, , , size)': ("Resize", "aliasing", "float[1,4,16,16] y"),
    "y = MaxPool <kernel_shape = [2,2], dilations = [2,2]> (x)": ("MaxPool", "dilated", "float[1,4,6,6] y"),
    "t = Transpose <perm = [0,1,3,2]> (x) y = MatMul (x, t)": ("MatMul", "integer form"),
    "y = LogSoftmax (x)": ("LogSoftmax", "integer form"),
    "y = Div (x, x)": ("Div", "integer form"),
    "y = Concat <axis = 1> (x, k)": ("Concat", "constant", "float[1,8,8,8] y"),
    "y = InstanceNormalization (x, v4, v4)": ("InstanceNormalization", "integer form"),
    "y = PRelu (x, k8)": ("PRelu", "slopes"),
    "r = Reshape (x, s5) y = Conv (r, w5)": ("Conv", "3 spatial", "float[1,2,1,7,7] y"),
    "y = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1], ceil_mode = 1, "
    "count_include_pad = 1> (x)": (
        "AveragePool",
        "rounds its size up",
        "float[1,4,5,5] y",
    ),
    "y = MaxPool <kernel_shape = [1,1], strides = [5,5], pads = [0,0,0,0], ceil_mode = 1> (x)": (
        "MaxPool",
        "nothing in them but padding",
        "float[1,4,3,3] y",
    ),
    "y = ConvTranspose <strides = [2,2], output_shape = [18,19]> (x, wt)": (
        "ConvTranspose",
        "beyond what its kernel reaches",
        "float[1,2,18,19] y",
    ),
    "y = Slice (x, b8, e9, a)": ("Slice", "empty", "float[1,4,0,8] y"),
    "y = Gather <axis = 2> (x, odd)": ("Gather", "integer form", "float[1,4,3,8] y"),
    "y, i = MaxPool <kernel_shape = [2,2]> (x) z = Cast <to = 1> (i)": (
        "MaxPool",
        "second output",
        "float[1,4,7,7] y, float[1,4,7,7] z",
    ),
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_has_no_normal_form_is_refused_with_reason_and_hint(body, text_model) -> None:
    constants = {
        "b": ints(7), "e": ints(-9), "a": ints(2), "s": ints(-1), "p4": ints(0, 0, 1, 1, 0, 0, 1, 1),
        "size": ints(1, 4, 16, 16), "k": floats(1, 4, 8, 8), "v4": floats(4),
        "k8": floats(8, 8), "s5": ints(1, 4, 1, 8, 8), "w5": floats(2, 4, 1, 2, 2), "odd": ints(3, 0, 1),
        "wt": floats(4, 2, 3, 3), "b8": ints(8), "e9": ints(9),
    }  # fmt: skip
    used = {name: content for name, content in constants.items() if f"{name}," in body or f"{name})" in body}
    op, reason, *shapes = REFUSED[body]
    outputs = shapes[0] if shapes else "float[1,4,8,8] y"
    model = text_model(f"g ({IN}) => ({outputs}) {{ {body} }}", **used)
    with pytest.raises(UnsupportedError) as error:
        normalise(model)
    refusal = next(refusal for refusal in error.value.refusals if refusal.op == op)
    assert reason in refusal.reason
    assert refusal.suggestion


def test_indices_leave_as_int64(text_model) -> None:
    model = text_model(f"g ({IN}) => (int32[1,1,8,8] y) {{ a = ArgMax <axis = 1> (x) y = Cast <to = 6> (a) }}")
    normalise(model)
    assert [node.op_type for node in model.graph] == ["ArgMax"]
    assert model.graph.outputs[0].name == "y"
    assert model.graph.outputs[0].dtype == ir.DataType.INT64


def test_backward_slice_is_not_touched(text_model) -> None:
    model = text_model(
        f"g ({IN}) => (float[1,4,8,8] y) {{ y = Slice (x, b, e, a, s) }}", b=ints(7), e=ints(-9), a=ints(2), s=ints(-1)
    )
    with pytest.raises(UnsupportedError, match="go backwards"):
        normalise(model)


def test_resize_whose_scales_are_not_its_sizes_is_refused(text_model) -> None:
    model = text_model(
        f'g ({IN}) => (float[1,4,20,20] y) {{ y = Resize <mode = "linear"> (x, , s) }}',
        s=np.array([1, 1, 2.6, 2.6], np.float32),
    )
    with pytest.raises(UnsupportedError, match="have no equal"):
        normalise(model)
