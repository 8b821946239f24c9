"""The noise of one layer is what it is when one takes the network apart by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn.affine import dequantise, quantise
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant import pipeline
from edgecnn.quant.float_graph import read
from edgecnn.quant.sensitivity import Sensitivity, measure, real_outputs
from edgecnn.recipe import Recipe
from edgecnn.runtime.evaluation.statistics import sqnr_db
from tests.quant.networks import (
    FAST,
    SmallMobileNet,
    float_outputs,
    in_normal_form,
    integer_outputs,
    pictures,
    settled,
    weights_of,
)

CORRECTED = Recipe("corrected", "", "minmax", "minmax", True)
FRAMES = pictures(3, 16)


def two_convolutions() -> ir.Model:
    torch.manual_seed(0)
    return in_normal_form(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU6(), nn.Conv2d(6, 4, 3, bias=False)), size=16)


def measured(module: nn.Module, recipe: Recipe = FAST, size: int = 16) -> Sensitivity:
    model, frames = in_normal_form(module, size), pictures(4, size)
    graph = pipeline.quantise(model, frames, recipe).graph
    return measure(model, graph, frames, recipe.bias_correction)


def powers(ratios: tuple[float, ...] | None) -> float:
    return 0.0 if ratios is None else sum(10 ** (-ratio / 10) for ratio in ratios)


def added(found: Sensitivity) -> float:
    total = sum(powers(layer.weights) + powers(layer.activation) for layer in found.layers)
    return float(-10 * np.log10(total))


@pytest.mark.parametrize("index", [0, 1])
def test_the_noise_of_weights_is_that_of_the_float_model_with_these_weights(index: int) -> None:
    model = two_convolutions()
    graph = pipeline.quantise(model, FRAMES, FAST).graph
    found, clean = measure(model, graph, FRAMES).layers[index], float_outputs(model, FRAMES)
    node = next(item for item in graph.nodes if item.name == found.name)
    name = next(item.inputs[1] for item in read(model).nodes if item.name == found.name)
    model.graph.initializers[name].const_value = ir.tensor(
        dequantise(graph.constants[node.inputs[1]], graph.spec(node.inputs[1]).grid)
    )
    assert found.weights == pytest.approx([sqnr_db(clean, float_outputs(model, FRAMES))], abs=1e-3)


def test_the_noise_of_an_output_is_that_of_its_rounding() -> None:
    model = two_convolutions()
    graph = pipeline.quantise(model, FRAMES, FAST).graph
    first, second = measure(model, graph, FRAMES).layers
    names, grid = [first.output, second.output], graph.spec(first.output).grid
    runner, last = FloatModel(model, outputs=names), read(model).nodes[-2]
    assert last.op == "Conv"
    clean, noisy = [], []
    for frame in FRAMES:
        middle, end = runner({"frame": frame[None]})
        rounded = dequantise(quantise(middle, grid, "uint8"), grid)
        clean.append(end)
        noisy.append(nn.functional.conv2d(torch.from_numpy(rounded), torch.tensor(last.constants[last.inputs[1]])))
    assert first.activation == pytest.approx([sqnr_db(np.concatenate(clean), torch.cat(noisy))], abs=1e-3)


def test_a_network_of_one_layer_has_the_noise_of_that_layer() -> None:
    torch.manual_seed(1)
    model = in_normal_form(nn.Conv2d(3, 4, 3), size=16)
    with weights_of(6):
        graph = pipeline.quantise(model, FRAMES, FAST).graph
    found = measure(model, graph, FRAMES)
    (layer,) = found.layers
    clean = float_outputs(model, FRAMES)
    assert found.whole == pytest.approx([sqnr_db(clean, integer_outputs(graph, FRAMES))], abs=1e-3)
    assert added(found) == pytest.approx(found.whole[0], abs=0.3)
    assert powers(layer.weights) > powers(layer.activation)


@pytest.mark.parametrize("recipe", [FAST, CORRECTED], ids=["float biases", "corrected biases"])
def test_the_noises_add_up_approximately(recipe: Recipe) -> None:
    torch.manual_seed(2)
    found = measured(settled(SmallMobileNet()), recipe, 32)
    assert len(found.layers) > 10
    assert added(found) == pytest.approx(found.whole[0], abs=2)


def test_a_correction_takes_the_mean_error_off() -> None:
    """Weights that all lie on one side of their integers shift every channel; a correction leaves next to nothing."""
    convolution = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, 0.3385, 0.3385], [1.0, 0.6535, 0.6535]])[..., None, None])
    model = in_normal_form(convolution, size=16)
    flat = [np.full((16, 16, 3), 200, np.uint8) + item % 7 for item in FRAMES]
    with weights_of(4):
        graph = pipeline.quantise(model, flat, FAST).graph
    plain, corrected = (measure(model, graph, flat, wanted).layers[0] for wanted in (False, True))
    assert corrected.weights is not None
    assert plain.weights is not None
    assert corrected.weights[0] > plain.weights[0] + 10
    assert corrected.activation == plain.activation


class Branches(nn.Module):
    """A fixed grid and another into one Concat, additions, pools, a clamp that cannot be fused, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = torch.sigmoid(self.first(x)), self.second(x)
        both = torch.cat([left, right], 1) + 0.25
        pooled = nn.functional.avg_pool2d(nn.functional.max_pool2d(both, 2), 2)
        return self.last(pooled), torch.relu(right)


def test_only_what_computes_integers_is_measured() -> None:
    torch.manual_seed(3)
    model, frames = in_normal_form(Branches(), 16), pictures(4, 16)
    graph = pipeline.quantise(model, frames, FAST).graph
    found, ops = measure(model, graph, frames), {node.name: node.op for node in graph.nodes}
    # Two convolutions read the picture, so a third, 1x1, takes the frame in front of them.
    rounding = [ops[layer.name] for layer in found.layers if layer.activation is not None]
    assert sorted(rounding) == ["Add", "AveragePool", *["Conv"] * 4, "Requantize", "Sigmoid"]
    assert {"Concat", "MaxPool", "Clip", "Transpose"} <= set(ops.values())
    assert sorted(ops[layer.name] for layer in found.layers if layer.weights is not None) == ["Add", *["Conv"] * 4]
    assert all(len(layer.activation or (0, 0)) == len(found.outputs) == 2 for layer in found.layers)
    assert np.isfinite(found.whole).all()


class Chosen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Conv2d(3, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(x).argmax(1, keepdim=True)


def test_behind_indices_the_scores_are_measured() -> None:
    torch.manual_seed(4)
    model = in_normal_form(Chosen(), size=16)
    graph = pipeline.quantise(model, FRAMES, FAST).graph
    (name,) = real_outputs(graph)
    assert graph.spec(name).shape == (1, 14, 14, 5)
    (layer,) = measure(model, graph, FRAMES).layers
    assert layer.weights is not None
    assert 20 < layer.weights[0] < 80


def test_one_number_a_picture_has_its_noise_too() -> None:
    torch.manual_seed(5)
    found = measured(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 1, 1)))
    assert np.isfinite(found.whole[0])
    assert max(powers(layer.weights) for layer in found.layers) > 0


def test_the_same_frames_give_the_same_numbers_and_every_node_is_told() -> None:
    model, told = two_convolutions(), []
    graph = pipeline.quantise(model, FRAMES, FAST).graph
    assert measure(model, graph, FRAMES, progress=lambda: told.append(1)) == measure(model, graph, FRAMES)
    assert len(told) == len([node for node in graph.nodes if not node.name.endswith("/clamp")])


def test_without_a_frame() -> None:
    model = two_convolutions()
    with pytest.raises(ValueError, match="at least one frame"):
        measure(model, pipeline.draft(model), [])
