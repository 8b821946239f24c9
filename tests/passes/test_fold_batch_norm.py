from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgecnn.errors import ModelError
from edgecnn.passes.float_difference import float_difference
from edgecnn.passes.pipeline import normalise
from edgecnn.passes.rewrite import array, sources

RNG = np.random.default_rng(7)
BN = "BatchNormalization <epsilon = 0.001>"


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def norm(channels: int, shift: bool = True) -> dict[str, np.ndarray]:
    mean = floats(channels) if shift else np.zeros(channels, np.float32)
    beta = floats(channels) if shift else np.zeros(channels, np.float32)
    return {"gamma": floats(channels), "beta": beta, "mean": mean, "var": np.abs(floats(channels)) + 0.1}


def test_conv_with_bias_and_without(text_model, normalised) -> None:
    for bias in ("", ", b"):
        model = text_model(
            f"""g (float[1,3,8,8] x) => (float[1,4,8,8] y) {{
                c = Conv <pads = [1,1,1,1]> (x, w{bias})
                y = {BN} (c, gamma, beta, mean, var)
            }}""",
            w=floats(4, 3, 3, 3),
            **({"b": floats(4)} if bias else {}),
            **norm(4),
        )
        result = normalised(model)
        assert result.ops == {"Conv": 1}
        fold = result.report.batch_norm.folds[0]
        assert (fold.before, fold.after) == ("Conv -> BatchNormalization", "Conv")
        assert len(sources(result.node("Conv"))) == 2
        assert result.after.graph.outputs[0].name == "y"


@pytest.mark.parametrize(("group", "weight"), [(1, (6, 5, 2, 2)), (2, (6, 3, 2, 2)), (6, (6, 1, 2, 2))])
def test_conv_transpose_scales_its_output_channels(group, weight, text_model) -> None:
    channels = weight[1] * group
    model = text_model(
        f"""g (float[1,6,4,4] x) => (float[1,{channels},8,8] y) {{
            c = ConvTranspose <group = {group}, strides = [2,2]> (x, w)
            y = {BN} (c, gamma, beta, mean, var)
        }}""",
        w=floats(*weight),
        **norm(channels),
    )
    after = model.clone()
    from edgecnn.passes.fold_batch_norm import FoldBatchNorm

    fold = FoldBatchNorm()
    assert fold(after).modified
    assert [node.op_type for node in after.graph] == ["ConvTranspose"]
    assert float_difference(model, after, [{"x": floats(1, 6, 4, 4)}]) <= 1e-5


@pytest.mark.parametrize(("kind", "end"), [("Conv", "c"), ("Relu", "r")], ids=["folded", "left"])
@pytest.mark.parametrize("variance", [-1.0, -0.001])
def test_a_variance_without_a_root_is_refused_by_name(kind: str, end: str, variance: float, text_model) -> None:
    parameters = norm(3) | {"var": np.asarray([1, variance, 2], np.float32)}
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,3,8,8] y) {{
            c = Conv (x, w)
            r = Relu (x)
            y = {BN} ({end}, gamma, beta, mean, var)
        }}""",
        w=floats(3, 3, 1, 1),
        **parameters,
    )
    with pytest.raises(ModelError, match=rf"must be positive, but is not in 1 of 3 channels; .* is {variance:g}"):
        normalise(model)


def test_a_variance_that_epsilon_lifts_above_zero_is_taken(text_model, normalised) -> None:
    parameters = norm(3) | {"var": np.asarray([1, -0.0005, 0], np.float32)}
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,3,8,8] y) {{
            c = Conv (x, w)
            y = {BN} (c, gamma, beta, mean, var)
        }}""",
        w=floats(3, 3, 1, 1),
        **parameters,
    )
    assert normalised(model).ops == {"Conv": 1}


def test_a_fold_that_leaves_float32_is_refused_by_name(text_model) -> None:
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,3,8,8] y) {{
            c = Conv (x, w)
            y = {BN} (c, gamma, beta, mean, var)
        }}""",
        w=floats(3, 3, 1, 1) * np.float32(1e20),
        **(norm(3) | {"gamma": np.full(3, 1e25, np.float32)}),
    )
    with pytest.raises(ModelError, match=r"constant '.*' is not finite any more"):
        normalise(model)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_batch_norm_before_grouped_conv_without_padding(group, text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,4,8,8] x) => (float[1,8,6,6] y) {{
            r = Relu (x)
            n = {BN} (r, gamma, beta, mean, var)
            y = Conv <group = {group}> (n, w, b)
        }}""",
        w=floats(8, 4 // group, 3, 3),
        b=floats(8),
        **norm(4),
    )
    result = normalised(model)
    assert result.ops == {"Relu": 1, "Conv": 1}
    assert result.report.batch_norm.folds[0].before == "BatchNormalization -> Conv"


def test_batch_norm_before_a_padding_conv_is_not_exact_and_stays(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,4,8,8] x) => (float[1,8,8,8] y) {{
            r = Relu (x)
            n = {BN} (r, gamma, beta, mean, var)
            y = Conv <pads = [1,1,1,1]> (n, w)
        }}""",
        w=floats(8, 4, 3, 3),
        **norm(4),
    )
    result = normalised(model)
    assert result.ops == {"Relu": 1, "Conv": 2}
    depthwise = result.node("Conv")
    assert depthwise.attributes.get_int("group", 1) == 4
    (unfolded,) = result.report.batch_norm.unfolded
    assert "pads with zeros" in unfolded.reason
    assert "behind Relu" in unfolded.reason


def test_batch_norm_without_shift_passes_a_padding_conv(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,4,8,8] x) => (float[1,8,8,8] y) {{
            n = {BN} (x, gamma, beta, mean, var)
            y = Conv <auto_pad = "SAME_UPPER"> (n, w)
        }}""",
        w=floats(8, 4, 3, 3),
        **norm(4, shift=False),
    )
    assert normalised(model).ops == {"Conv": 1}


def test_zero_pad_between_batch_norm_and_conv_is_not_passed(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,4,8,8] x) => (float[1,8,8,8] y) {{
            r = Tanh (x)
            n = {BN} (r, gamma, beta, mean, var)
            p = Pad (n, pads)
            y = Conv (p, w)
        }}""",
        w=floats(8, 4, 3, 3),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        **norm(4),
    )
    assert normalised(model).ops == {"Tanh": 1, "Conv": 2}


def test_batch_norm_between_zero_pad_and_conv_is_folded(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,4,8,8] x) => (float[1,8,8,8] y) {{
            p = Pad (x, pads)
            n = {BN} (p, gamma, beta, mean, var)
            y = Conv (n, w)
        }}""",
        w=floats(8, 4, 3, 3),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        **norm(4),
    )
    result = normalised(model)
    assert result.ops == {"Conv": 1}
    assert tuple(result.node("Conv").attributes["pads"].as_ints()) == (1, 1, 1, 1)


def test_conv_with_another_reader_is_left_alone(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,4,8,8] y) {{
            c = Conv (x, w)
            n = {BN} (c, gamma, beta, mean, var)
            y = Add (c, n)
        }}""",
        w=floats(4, 3, 1, 1),
        **norm(4),
    )
    result = normalised(model)
    assert result.ops == {"Conv": 2, "Add": 1}
    assert "has other readers" in result.report.batch_norm.unfolded[0].reason


def test_conv_that_is_an_output_is_left_alone(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,4,8,8] c, float[1,4,8,8] y) {{
            c = Conv (x, w)
            y = {BN} (c, gamma, beta, mean, var)
        }}""",
        w=floats(4, 3, 1, 1),
        **norm(4),
    )
    result = normalised(model)
    assert result.ops == {"Conv": 2}
    assert "has other readers" in result.report.batch_norm.unfolded[0].reason


def test_weights_shared_by_two_convs_are_copied(text_model, normalised) -> None:
    shared = floats(3, 3, 1, 1)
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,3,8,8] y) {{
            a = Conv (x, w)
            n = {BN} (a, gamma, beta, mean, var)
            c = Conv (n, w)
            y = Relu (c)
        }}""",
        w=shared,
        **norm(3),
    )
    result = normalised(model)
    assert result.ops == {"Conv": 2, "Relu": 1}
    second = [node for node in result.after.graph if node.op_type == "Conv"][1]
    assert np.array_equal(array(second.inputs[1]), shared)


def test_batch_norm_read_by_two_convs_folds_into_both(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,4,8,8] y) {{
            s = Sigmoid (x)
            n = {BN} (s, gamma, beta, mean, var)
            a = Conv (n, w)
            b = Conv (n, v)
            y = Add (a, b)
        }}""",
        w=floats(4, 3, 1, 1),
        v=floats(4, 3, 1, 1),
        **norm(3),
    )
    result = normalised(model)
    assert result.ops == {"Sigmoid": 1, "Conv": 2, "Add": 1}
    assert len(result.report.batch_norm.folds[0].into) == 2


def test_weight_that_is_fed_is_refused_with_its_name(text_model) -> None:
    from edgecnn.errors import UnsupportedError

    model = text_model(
        f"""g (float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) {{
            c = Conv (x, w)
            y = {BN} (c, gamma, beta, mean, var)
        }}""",
        **norm(4),
    )
    with pytest.raises(UnsupportedError, match="weight or bias is not constant") as error:
        normalise(model)
    assert [refusal.op for refusal in error.value.refusals] == ["Conv"]


def test_parameters_that_are_computed_keep_the_batch_norm(text_model) -> None:
    from edgecnn.errors import UnsupportedError
    from edgecnn.passes.fold_batch_norm import FoldBatchNorm

    constants = norm(4)
    del constants["gamma"]
    model = text_model(
        f"""g (float[1,4,8,8] x, float[4] gamma) => (float[1,4,8,8] y) {{
            y = {BN} (x, gamma, beta, mean, var)
        }}""",
        **constants,
    )
    fold = FoldBatchNorm()
    assert not fold(model).modified
    assert "not constant" in fold.report.unfolded[0].reason
    with pytest.raises(UnsupportedError, match="BatchNormalization"):
        normalise(model)


def test_linear_then_batch_norm_then_batch_norm(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,6] x) => (float[1,4] y) {{
            m = MatMul (x, w)
            a = Add (b, m)
            n = {BN} (a, gamma, beta, mean, var)
            y = BatchNormalization (n, gamma, beta, mean, var)
        }}""",
        w=floats(6, 4),
        b=floats(4),
        **norm(4),
    )
    result = normalised(model)
    assert result.ops == {"Gemm": 1}
    assert len(result.report.batch_norm.folds) == 2


def test_batch_norm_of_rank_3_becomes_mul_and_add(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,4,6] x) => (float[1,4,6] y) {{
            y = {BN} (x, gamma, beta, mean, var)
        }}""",
        **norm(4),
    )
    assert normalised(model).ops == {"Mul": 1, "Add": 1}


def test_training_mode_is_switched_off_and_noted(text_model) -> None:
    from edgecnn.graph import notes

    model = text_model(
        """g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
            y, m, v = BatchNormalization <training_mode = 1> (x, gamma, beta, mean, var)
        }""",
        **norm(4),
    )
    assert "training mode" in notes(model)[0]
    node = next(iter(model.graph))
    assert len(node.outputs) == 1
    assert "training_mode" not in node.attributes
    assert isinstance(node, ir.Node)


def test_scale_between_conv_and_batch_norm_does_not_hide_the_conv(text_model, normalised) -> None:
    model = text_model(
        f"""g (float[1,3,8,8] x) => (float[1,4,8,8] y) {{
            c = Conv (x, w)
            s = Mul (c, scale)
            n = {BN} (s, gamma, beta, mean, var)
            d = Div (n, scale)
            t = Sub (two, d)
            y = Add (t, offset)
        }}""",
        w=floats(4, 3, 1, 1),
        scale=floats(1, 4, 1, 1),
        two=np.float32(2),
        offset=floats(4, 1, 1),
        **norm(4),
    )
    assert normalised(model).ops == {"Conv": 1}
