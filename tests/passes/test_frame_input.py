from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn.errors import ModelError, OptionError
from edgecnn.graph import import_torch
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.frame_input import FrameInput, FrameReport
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.passes.rewrite import array

RNG = np.random.default_rng(3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def frames(channels: int = 3, size: int = 12) -> np.ndarray:
    return RNG.integers(0, 256, (3, size, size, channels), dtype=np.uint8)


def enter(model: ir.Model, *args, **kwargs) -> tuple[ir.Model, FrameReport]:
    normalise(model)
    after = model.clone()
    step = FrameInput(*args, **kwargs)
    assert step(after).modified
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    return after, step.report


def network(channels: int = 3, padding: int = 0, groups: int = 1) -> ir.Model:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(channels, 6, 3, 2, padding, groups=groups), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), nn.Flatten()
    )
    return import_torch(layers, (1, channels, 12, 12))


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def zero_point(model: ir.Model) -> int:
    node = next(node for node in model.graph if node.op_type == "DequantizeLinear")
    return int(array(node.inputs[2]))


def test_without_padding_it_is_exact_for_any_mean() -> None:
    after, report = enter(network(), *IMAGENET, "rgb", frames())
    assert ops(after)[:3] == ["DequantizeLinear", "Transpose", "Conv"]
    assert report.exact
    assert report.measured <= 1e-5
    assert (report.zero_point, zero_point(after)) == (0, 0)
    assert after.graph.inputs[0].name == "frame"
    assert after.graph.inputs[0].dtype == ir.DataType.UINT8
    assert tuple(after.graph.inputs[0].shape.numpy()) == (1, 12, 12, 3)


@pytest.mark.parametrize(("mean", "exact", "expected"), [(0.0, True, 0), (51 / 255, True, 51), (0.5, False, 127)])
def test_padding_is_exact_where_the_mean_is_a_raw_value(mean, exact, expected) -> None:
    after, report = enter(network(padding=1), (mean,), (0.25,), "rgb", frames())
    assert report.exact == exact
    assert abs(report.zero_point - expected) <= (0 if exact else 1)
    assert zero_point(after) == report.zero_point
    assert report.measured <= (1e-5 if exact else 1e-2)


def test_different_means_give_the_zero_point_that_hurts_least() -> None:
    model = network(padding=1)
    _, report = enter(model, *IMAGENET, "rgb", frames())
    assert not report.exact
    assert 0.40 * 255 <= report.zero_point <= 0.49 * 255 + 8
    assert 0 < report.measured < 0.1
    assert 0 < report.border_error < 0.1


def test_least_squares_zero_point_is_the_best_of_all_256() -> None:
    from edgecnn.passes.channel_affine import ChannelAffine, parameters
    from edgecnn.passes.frame_border import _border_sums, _per_tap, choose_zero_point

    model = network(padding=1)
    normalise(model)
    conv = next(iter(model.graph))
    weight, bias = parameters(conv)
    mean, std = np.array(IMAGENET)
    affine = ChannelAffine(1 / std, -mean / std)
    p, q, count = _border_sums(conv, _per_tap(conv, weight, affine.scale / 255), _per_tap(conv, weight, affine.shift))
    losses = [(count * (p * zp + q) ** 2).sum() for zp in range(256)]
    assert choose_zero_point(conv, weight, bias, affine).zero_point == int(np.argmin(losses))


def test_rgb_models_read_bgr_frames_reversed() -> None:
    model = network()
    rgb, _ = enter(model.clone(), color="rgb")
    bgr, _ = enter(model.clone(), color="bgr")
    frame = frames()[:1]
    a = FloatModel(rgb)({"frame": frame})[0]
    b = FloatModel(bgr)({"frame": np.ascontiguousarray(frame[..., ::-1])})[0]
    assert np.allclose(a, b, atol=1e-5)
    direct = FloatModel(model)({"image": (frame[..., ::-1] / 255).transpose(0, 3, 1, 2).astype(np.float32)})[0]
    assert np.allclose(a, direct, atol=1e-5)


@pytest.mark.parametrize(("channels", "color"), [(1, "gray"), (2, "bgr"), (5, "rgb")])
def test_other_numbers_of_channels_keep_their_order(channels, color) -> None:
    _, report = enter(network(channels), (0.1,), (0.3,), color, frames(channels))
    assert report.measured <= 1e-5


def test_the_models_own_normalisation_disappears_too() -> None:
    class Normalising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.register_buffer("mean", torch.tensor([102.0, 102.0, 102.0]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([50.0, 60.0, 70.0]).view(1, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv((x * 255 - self.mean) / self.std)

    after, report = enter(import_torch(Normalising(), (1, 3, 12, 12)), color="bgr", frames=frames())
    assert ops(after) == ["DequantizeLinear", "Transpose", "Conv"]
    assert report.zero_point == 102
    assert report.exact
    assert report.measured <= 1e-5


@pytest.mark.parametrize("flip", ["gather", "slice"])
def test_the_models_own_channel_order_disappears_too(flip) -> None:
    class Flipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.register_buffer("mean", torch.tensor([0.2, 0.2, 0.2]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x[:, [2, 0, 1]] if flip == "gather" else x.flip(1)
            return self.conv((x - self.mean) / self.std)

    after, report = enter(import_torch(Flipping(), (1, 3, 12, 12)), color="rgb", frames=frames())
    assert ops(after) == ["DequantizeLinear", "Transpose", "Conv"]
    assert report.zero_point == 51
    assert report.measured <= 1e-5


def test_batch_norm_on_the_input_disappears_too() -> None:
    torch.manual_seed(1)
    layers = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1))
    nn.init.constant_(layers[0].running_mean, 0.2)
    after, report = enter(import_torch(layers, (1, 3, 12, 12)), frames=frames())
    assert ops(after) == ["DequantizeLinear", "Transpose", "Conv"]
    assert report.zero_point == 51
    assert report.measured <= 1e-5


def test_nhwc_model_loses_its_transpose(text_model) -> None:
    model = text_model(
        """g (float[1,12,12,3] picture) => (float[1,4,10,10] y) {
            s = Sub (picture, mean)
            m = Mul (s, scale)
            t = Transpose <perm = [0,3,1,2]> (m)
            y = Conv (t, w)
        }""",
        mean=np.array([0.5, 0.4, 0.3], np.float32),
        scale=np.array([2, 3, 4], np.float32),
        w=RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    after, report = enter(model, frames=frames())
    assert ops(after) == ["DequantizeLinear", "Transpose", "Conv"]
    assert report.measured <= 1e-5


def test_uint8_nhwc_model_is_taken_as_raw(text_model) -> None:
    model = text_model(
        """g (uint8[1,12,12,3] picture) => (float[1,4,10,10] y) {
            f = Cast <to = 1> (picture)
            m = Div (f, scale)
            t = Transpose <perm = [0,3,1,2]> (m)
            y = Conv (t, w)
        }""",
        scale=np.float32(127.5),
        w=RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    after, report = enter(model.clone(), frames=frames())
    assert ops(after) == ["DequantizeLinear", "Transpose", "Conv"]
    assert report.measured <= 1e-5
    normalise(model)
    with pytest.raises(OptionError, match="normalises them itself"):
        FrameInput(mean=(0.5,))(model)


def test_fall_back_where_the_first_layer_is_no_conv(text_model) -> None:
    model = text_model(
        """g (float[1,3,12,12] x) => (float[1,3,6,6] y) {
            y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)
        }"""
    )
    after, report = enter(model.clone(), *IMAGENET, "rgb", frames())
    assert report.fallback
    assert report.exact
    assert "MaxPool" in report.reason
    assert report.measured <= 1e-5
    assert ops(after) == ["DequantizeLinear", "Transpose", "Conv", "MaxPool"]
    plain, report = enter(model, color="bgr", frames=frames())
    assert not report.fallback
    assert ops(plain) == ["DequantizeLinear", "Transpose", "MaxPool"]


def test_fall_back_where_the_picture_has_two_readers(text_model) -> None:
    model = text_model(
        """g (float[1,3,12,12] x) => (float[1,3,12,12] y) {
            c = Conv <pads = [1,1,1,1]> (x, w)
            y = Add (c, x)
        }""",
        w=RNG.standard_normal((3, 3, 3, 3)).astype(np.float32),
    )
    _, report = enter(model, *IMAGENET, "bgr", frames())
    assert report.fallback
    assert report.exact
    assert report.measured <= 1e-5


def test_grouped_first_conv() -> None:
    _, folded = enter(network(groups=3), *IMAGENET, "bgr", frames())
    assert not folded.fallback
    assert folded.measured <= 1e-5
    _, moved = enter(network(groups=3), *IMAGENET, "rgb", frames())
    assert moved.fallback
    assert moved.measured <= 1e-5


def test_pictures_leave_as_nhwc() -> None:
    model = import_torch(nn.Conv2d(3, 2, 3), (1, 3, 12, 12))
    normalise(model)
    before = FloatModel(model)
    assert FrameOutput()(model).modified
    x = RNG.standard_normal((1, 3, 12, 12)).astype(np.float32)
    (wanted,) = before({"image": x})
    (found,) = FloatModel(model)({"image": x})
    assert model.graph.outputs[0].name == "output"
    assert np.array_equal(found, wanted.transpose(0, 2, 3, 1))


def test_outputs_that_are_nhwc_stay_and_indices_are_moved_before(text_model) -> None:
    model = text_model(
        """g (float[1,3,4,6] x) => (float[1,4,6,3] a, int64[1,1,4,6] b, float[1,3] c) {
            r = Relu (x)
            t = Transpose <perm = [0,2,3,1]> (r)
            a = Sigmoid (t)
            b = ArgMax <axis = 1> (x)
            c = ReduceMean <keepdims = 0> (x, axes)
        }""",
        axes=np.array([2, 3]),
    )
    normalise(model)
    before = FloatModel(model)
    FrameOutput()(model)
    assert sorted(ops(model)) == ["ArgMax", "ReduceMean", "Relu", "Sigmoid", "Transpose", "Transpose"]
    x = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
    a, b, c = before({"x": x})
    found = FloatModel(model)({"x": x})
    assert np.array_equal(found[0], a)
    assert np.array_equal(found[1], b.transpose(0, 2, 3, 1))
    assert np.array_equal(found[2], c)


def test_outputs_whose_parts_are_nhwc_stay(text_model) -> None:
    model = text_model(
        """g (float[1,3,4,6] x) => (float[1,4,6,4] a, int64[1,4,6,1] b, float[1,4,3,6] c) {
            r = Relu (x)
            t = Transpose <perm = [0,2,3,1]> (x)
            u = Transpose <perm = [0,2,3,1]> (r)
            m = ReduceMean (u, axes)
            a = Concat <axis = 3> (t, m)
            b = ArgMax <axis = 3> (t)
            c = Transpose <perm = [0,2,1,3]> (r)
        }""",
        axes=np.array([3]),
    )
    normalise(model)
    before, leaving = FloatModel(model), FrameOutput()
    leaving(model)
    x = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
    wanted, found = before({"x": x}), FloatModel(model)({"x": x})
    for left, right in zip(leaving.leave(wanted), found, strict=True):
        assert np.array_equal(left, right)
    assert [array.shape for array in found] == [(1, 4, 6, 4), (1, 4, 6, 1), (1, 3, 6, 4)]
    assert np.array_equal(found[0], wanted[0])


def test_a_number_alone_leaves_with_an_axis(text_model) -> None:
    model = text_model(
        """g (float[1,3,4,6] x) => (float y) {
            y = ReduceMean <keepdims = 0> (x, axes)
        }""",
        axes=np.array([0, 1, 2, 3]),
    )
    normalise(model)
    before, leaving = FloatModel(model), FrameOutput()
    leaving(model)
    x = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
    (wanted,), (found,) = before({"x": x}), FloatModel(model)({"x": x})
    assert (found.shape, found[0]) == ((1,), wanted)
    assert np.array_equal(leaving.leave([wanted])[0], found)


def test_a_new_node_takes_no_name_of_the_model(text_model) -> None:
    model = text_model(
        """g (float[1,3,4,6] x) => (float[1,3,4,6] y) {
            n = Sigmoid (x)
            y = Relu (n)
        }"""
    )
    normalise(model)
    model.graph[0].name, model.graph[0].outputs[0].name = "y/Transpose", "y/nchw"
    FrameOutput()(model)
    x = RNG.standard_normal((1, 3, 4, 6)).astype(np.float32)
    assert FloatModel(model)({"x": x})[0].shape == (1, 4, 6, 3)


def test_options_that_do_not_fit_are_refused(text_model) -> None:
    with pytest.raises(OptionError, match="Did you mean 'rgb'"):
        FrameInput(color="rbg")
    with pytest.raises(OptionError, match="std positive"):
        FrameInput(std=(0.0,))
    with pytest.raises(OptionError, match="mean has 2 values"):
        enter(network(), mean=(0.1, 0.2))
    with pytest.raises(OptionError, match="3 channel"):
        enter(network(), color="gray")
    two = text_model("g (float[1,3,4,4] a, float[1,3,4,4] b) => (float[1,3,4,4] y) { y = Add (a, b) }")
    with pytest.raises(ModelError, match="2 inputs"):
        FrameInput()(two)
    flat = text_model("g (float[1,3] a) => (float[1,3] y) { y = Relu (a) }")
    with pytest.raises(ModelError, match="rank 4"):
        FrameInput()(flat)


def test_focus_is_looked_through() -> None:
    class Focus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(12, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
            return self.conv(torch.cat(parts, 1))

    torch.manual_seed(0)
    after, report = enter(import_torch(Focus(), (1, 3, 12, 12)), (0.2,), (0.1, 0.2, 0.3), "rgb", frames())
    assert not report.fallback
    assert report.zero_point == 51
    assert report.measured <= 1e-5
    assert ops(after) == ["DequantizeLinear", "Transpose", "Slice", "Slice", "Slice", "Slice", "Concat", "Conv"]
