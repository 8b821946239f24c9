"""Bias correction takes the mean error off every layer, in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.affine import dequantise
from edgecnn.integer_graph import IntegerGraph, IntegerNode
from edgecnn.passes.float_difference import FloatModel
from edgecnn.quant.bias_correction import corrected_bias
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import Recipe
from edgecnn.runtime.engines.reference import run_graph
from edgecnn.tensor import QuantParams, TensorSpec
from tests.quant.networks import (
    SmallMobileNet,
    float_outputs,
    in_normal_form,
    integer_outputs,
    pictures,
    settled,
    weights_of,
)

COARSE = Recipe("coarse", "", "minmax", "minmax", False)
CORRECTED = Recipe("corrected", "", "minmax", "minmax", True)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    return in_normal_form(settled(SmallMobileNet()))


def layer_errors(model, graph, frames) -> float:
    """Mean over layers and channels of the absolute mean error, in steps of the layer's grid."""
    names = [node.output for node in graph.nodes if node.op in ("Conv", "Gemm")]
    runner = FloatModel(model, outputs=names)
    total = {name: 0.0 for name in names}
    for frame in frames:
        real = dict(zip(names, runner({"frame": frame[None]}), strict=True))
        integers = run_graph(graph, [frame[None]])
        for name in names:
            error = dequantise(integers[name], graph.spec(name).grid) - real[name]
            axes = (0, 2, 3) if error.ndim == 4 else (0,)
            total[name] += error.mean(axis=axes) / graph.spec(name).grid.scale[0] / len(frames)
    return float(np.mean([np.abs(value).mean() for value in total.values()]))


def test_correction_lowers_the_mean_error_of_the_layers(model):
    frames = pictures(6)
    with weights_of(5):
        before, after = (quantise(model, frames, recipe).graph for recipe in (COARSE, CORRECTED))
    assert layer_errors(model, after, frames) < 0.6 * layer_errors(model, before, frames)


def test_correction_brings_the_mean_of_the_outputs_to_that_of_the_float_model(model):
    frames = pictures(6)
    wanted = float_outputs(model, frames).mean(axis=(0, 1))
    with weights_of(5):
        graphs = [quantise(model, frames, recipe).graph for recipe in (COARSE, CORRECTED)]
    errors = [np.abs(integer_outputs(graph, frames).mean(axis=(0, 1)) - wanted) for graph in graphs]
    assert errors[1].mean() < 0.5 * errors[0].mean()


def test_correction_touches_biases_alone(model):
    frames = pictures(2)
    before, after = (quantise(model, frames, recipe).graph for recipe in (COARSE, CORRECTED))
    assert before.tensors == after.tensors
    changed = {name for name, array in before.constants.items() if not np.array_equal(array, after.constants[name])}
    assert changed
    assert all(before.spec(name).dtype == "int32" for name in changed)


def test_the_second_of_two_layers_by_hand():
    """Without clamps, what is added is the mean of float outputs less that of the integer outputs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1))
    model, frames = in_normal_form(network, size=6), pictures(3, 6)
    with weights_of(4):
        graph, corrected = (quantise(model, frames, recipe).graph for recipe in (COARSE, CORRECTED))
    _, second = (node for node in graph.nodes if node.op == "Conv")
    # The second layer's own bias as it was, on what the corrected first layer gives.
    bias = second.inputs[2]
    before = replace(corrected, constants={**corrected.constants, bias: graph.constants[bias]})
    grid = graph.spec(second.output).grid
    runner = FloatModel(model, outputs=[second.output])
    wanted = np.mean([runner({"frame": frame[None]})[0].mean((0, 2, 3)) for frame in frames], axis=0)
    integers = [run_graph(before, [frame[None]])[second.output] for frame in frames]
    error = wanted - np.mean([dequantise(item, grid).mean((0, 2, 3)) for item in integers], axis=0)
    moved = dequantise(corrected.constants[bias], graph.spec(bias).grid) - dequantise(
        graph.constants[bias], graph.spec(bias).grid
    )
    np.testing.assert_allclose(moved, error, atol=2 * graph.spec(bias).grid.scales.max())
    assert np.abs(error).max() > 4 * graph.spec(bias).grid.scales.max()


def test_behind_a_clamp_only_what_the_bias_can_change_counts():
    """Half of the positions are shut in both models: they say nothing, and do not dilute the error of the others."""
    node = IntegerNode("n", "Conv", ("x", "w", "b"), "y", {"group": 1})
    grid, fine = QuantParams.per_tensor(0.1, 0), QuantParams.per_channel([0.001], 0)
    tensors = {
        "x": TensorSpec("x", (1, 1, 1, 4), "uint8", grid),
        "w": TensorSpec("w", (1, 1, 1, 1), "int8", QuantParams.per_channel([0.01], 0)),
        "b": TensorSpec("b", (1,), "int32", fine),
        "y": TensorSpec("y", (1, 1, 1, 4), "uint8", grid),
    }
    constants = {"w": np.ones((1, 1, 1, 1), np.int8), "b": np.zeros(1, np.int32)}
    graph = IntegerGraph("g", ("x",), ("y",), (node,), tensors, constants)
    outputs = [np.asarray([[[[0, 0, 10, 20]]]], np.uint8)]
    wanted = {"y": [np.asarray([[-0.5, 0.0, 1.4, 2.4]], np.float32)]}
    assert corrected_bias(graph, node, wanted, outputs).tolist() == [400]
