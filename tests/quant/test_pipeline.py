"""The whole quantiser: accuracy against float, odd pictures, portable factors, engines that agree bit by bit."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.affine import dequantise, multiplier
from edgecnn.errors import CalibrationError
from edgecnn.exact_sums import broken_pairs, broken_sums
from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import Recipe
from edgecnn.runtime.engines.reference import run_graph
from tests.quant.networks import (
    BEST,
    FAST,
    ConvNormClamp,
    SmallMobileNet,
    float_outputs,
    in_normal_form,
    integer_outputs,
    pictures,
    settled,
    sqnr,
)

ENGINES = ("onnxruntime", "litert", "openvino")


class Gated(nn.Module):
    """Branches, a sigmoid gate, SiLU, LeakyReLU, a mixed Concat, transposed convolution, bilinear upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU())
        self.left = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
        self.right = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Sigmoid())
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = torch.cat([self.left(x), self.right(x)], 1)
        wide = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(torch.cat([self.up(y), wide], 1))


class Excited(nn.Module):
    """ResNet blocks with their Relu behind the addition, squeeze and excitation, pools, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormClamp(3, 8, 3, 2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)) for _ in range(2))
        self.gate, self.classifier = nn.Conv2d(8, 8, 1), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = nn.functional.avg_pool2d(nn.functional.max_pool2d(x, 2), 2)
        return torch.softmax(self.classifier(x.flatten(1)), 1)


class Multiplied(nn.Module):
    """Products, a difference, a cut, and activations that are no clamps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.slopes, self.head = nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = torch.tanh(self.slopes(x) * nn.functional.hardswish(x))
        return self.head(y - nn.functional.silu(x)[:, :1])


def mobile_net():
    torch.manual_seed(0)
    return in_normal_form(settled(SmallMobileNet()))


@pytest.fixture(scope="module")
def model():
    return mobile_net()


@pytest.fixture(scope="module")
def graph(model) -> IntegerGraph:
    return quantise(model, pictures(12), BEST).graph


def test_the_result_says_what_was_seen(model):
    frames = pictures(3)
    result = quantise(model, iter(frames), FAST)
    assert result.images == 3
    wanted = float_outputs(model, frames)
    name = result.graph.outputs[0]
    seen = result.statistics[name]
    assert (seen.low, seen.high) == pytest.approx((wanted.min(), wanted.max()), rel=1e-5)


def test_progress_is_told_by_stage(model):
    stages: list[str] = []
    quantise(model, pictures(2), BEST, progress=stages.append)
    assert stages[:2] == ["calibrating"] * 2
    assert set(stages[2:]) == {"rounding"}


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
def test_a_small_mobilenet_keeps_25_db_with_every_observer(model, observer):
    recipe = Recipe("r", "", observer, "minmax", True, percentile=99.99)
    frames = pictures(12)
    got = integer_outputs(quantise(model, frames, recipe).graph, frames)
    assert sqnr(float_outputs(model, frames), got) > 25.0


def test_frames_that_were_not_calibrated_on_keep_20_db(model, graph):
    frames = pictures(12, seed=5)
    assert sqnr(float_outputs(model, frames), integer_outputs(graph, frames)) > 20.0


@pytest.mark.parametrize("network", [Gated, Excited, Multiplied])
def test_other_networks_keep_30_db(network):
    torch.manual_seed(1)
    model, frames = in_normal_form(settled(network(), 16), 16), pictures(8, 16)
    got = integer_outputs(quantise(model, frames, BEST).graph, frames)
    assert sqnr(float_outputs(model, frames), got) > 30.0


def test_mse_ranges_beat_minmax_on_heavy_tails():
    """A few pixels are fifty times brighter inside the network than all the others."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1))
    frames = pictures(40, 16)
    frames = [frame // 16 for frame in frames]
    frames[0][3, 3] = 255
    model = in_normal_form(network, 16)
    wanted = float_outputs(model, frames[1:])
    noise = [
        sqnr(wanted, integer_outputs(quantise(model, frames, Recipe("r", "", name, "minmax", False)).graph, frames[1:]))
        for name in ("minmax", "percentile")
    ]
    assert noise[1] > noise[0] + 3


@pytest.mark.parametrize("recipe", [FAST, BEST, replace(BEST, rounding="gptq"), replace(FAST, tuning_passes=1)])
def test_every_recipe_gives_weights_that_are_exact_everywhere(model, recipe):
    graph = quantise(model, pictures(40), recipe).graph
    assert broken_pairs(graph) == broken_sums(graph) == []
    assert max(int(np.abs(array.astype(int)).max()) for array in graph.constants.values() if array.dtype == "i1") == 127


def test_no_image_is_an_error(model):
    with pytest.raises(CalibrationError, match="at least one image"):
        quantise(model, [], BEST)


@pytest.mark.parametrize(
    "recipe", [FAST, BEST, Recipe("entropy", "", "entropy", "minmax", False)], ids=lambda r: r.name
)
@pytest.mark.parametrize("value", [0, 7, 255])
def test_pictures_of_one_value_give_finite_grids(model, recipe, value):
    frames = [np.full((32, 32, 3), value, np.uint8)]
    graph = quantise(model, frames, recipe).graph
    for spec in graph.tensors.values():
        assert np.isfinite(spec.grid.scales).all()
    wanted, got = float_outputs(model, frames), integer_outputs(graph, frames)
    assert np.abs(wanted - got).max() <= 0.15 * np.abs(wanted).max()


def test_one_picture_is_enough(model):
    frames = pictures(1)
    got = integer_outputs(quantise(model, frames, BEST).graph, frames)
    assert sqnr(float_outputs(model, frames), got) > 25.0


def test_a_dead_branch_does_not_spoil_the_sum():
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.branch, self.head = nn.Conv2d(3, 4, 3), ConvNormClamp(4, 4), nn.Conv2d(4, 4, 1)
            nn.init.zeros_(self.branch[1].weight)
            nn.init.zeros_(self.branch[1].bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x) * 0.01
            return self.head(x + self.branch(x))

    torch.manual_seed(0)
    model, frames = in_normal_form(Dead().eval(), 16), pictures(4, 16)
    for recipe in (FAST, BEST):
        got = integer_outputs(quantise(model, frames, recipe).graph, frames)
        assert sqnr(float_outputs(model, frames), got) > 30.0


def factors(graph: IntegerGraph) -> dict[str, np.ndarray]:
    nodes = [node for node in graph.nodes if node.op in ("Conv", "Gemm")]
    return {
        node.name: multiplier(*(graph.spec(name).grid for name in (node.inputs[0], node.inputs[1], node.output)))
        for node in nodes
    }


def test_no_sum_of_a_convolution_lies_near_the_middle_of_two_integers(graph):
    for name, values in factors(graph).items():
        for factor in values.astype(np.float64):
            denominator = Fraction(factor).limit_denominator(round(2 / min(factor, 1.0)) + 2 * 2047).denominator
            # Results beyond 255 saturate. float32 moves a product of 255 by at most three roundings.
            sums = np.arange(min(int(256 / factor), 2_000_000))
            distance = np.abs((sums * factor) % 1 - 0.5).min()
            assert denominator % 2 == 1, name
            assert distance >= 1 / (2 * denominator) - 255 * 3 * 2.0**-24, name


def test_additions_have_odd_integer_steps(graph):
    for node in (node for node in graph.nodes if node.op == "Add"):
        a, b, y = (np.float64(graph.spec(name).grid.scale[0]) for name in (*node.inputs, node.output))
        for ratio in (a / y, b / y):
            exact = Fraction(ratio).limit_denominator(2047)
            assert exact.denominator % 2 == 1
            assert float(exact) == pytest.approx(ratio, rel=1e-6)


def differences(engine: str, graph: IntegerGraph) -> np.ndarray:
    """Run an engine and the reference on smooth and on random frames; return how far apart they are, in LSB."""
    if importlib.util.find_spec("ai_edge_litert" if engine == "litert" else engine) is None:
        pytest.skip(f"{engine} is not installed")
    shape = graph.spec("frame").shape
    noise = np.random.default_rng(0).integers(0, 256, (4, *shape[1:]), dtype=np.uint8)
    found = []
    with artefact.opened(engine, graph) as loaded:
        for frame in (*pictures(4, shape[1], seed=11), *noise):
            expected = run_graph(graph, [frame[None]])[graph.outputs[0]]
            found.append(loaded.run([frame[None]])[0].astype(int) - expected)
    return np.abs(np.stack(found))


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_give_the_references_integers(graph, engine):
    assert differences(engine, graph).max() == 0


@pytest.mark.parametrize("network", [Gated, Excited])
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree_on_branches_gates_and_upsampling(network, engine):
    torch.manual_seed(1)
    model = in_normal_form(settled(network(), 16), 16)
    assert differences(engine, quantise(model, pictures(8, 16), BEST).graph).max() == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_stay_within_one_lsb_behind_functions_that_each_computes_its_way(engine):
    torch.manual_seed(1)
    model = in_normal_form(settled(Multiplied(), 16), 16)
    found = differences(engine, quantise(model, pictures(8, 16), BEST).graph)
    assert found.max() <= 1
    assert found.mean() < 0.002


def test_the_outputs_grid_covers_what_was_seen(graph, model):
    frames = pictures(12)
    wanted = float_outputs(model, frames)
    grid = graph.spec(graph.outputs[0]).grid
    ends = dequantise(np.asarray([0, 255], np.uint8), grid)
    step = grid.scale[0]
    # MSE ranges may leave the rarest values out, not more.
    assert np.mean((wanted < ends[0] - step) | (wanted > ends[1] + step)) < 0.02
