"""The torch form of the integer graph gives the same integers, and its gradients lower the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn import plugins
from edgecnn.affine import quantise as to_grid
from edgecnn.quant import pipeline, tuning
from edgecnn.quant.differentiable import FUNCTIONS
from edgecnn.quant.judge import Judge
from edgecnn.quant.pipeline import quantise
from edgecnn.quant.simulation import Simulation
from edgecnn.quant.tuning import can_tune, obstacle, tune
from edgecnn.runtime.engines.reference import run_graph
from tests.quant.networks import FAST, SmallMobileNet, in_normal_form, pictures, settled, weights_of
from tests.quant.test_pipeline import Excited, Gated, Multiplied


class Rearranged(nn.Module):
    """What only moves values, and pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.pixel_shuffle(nn.functional.max_pool2d(self.stem(x), 3, 2, 1), 2)
        x = nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        x = self.head(nn.functional.pad(x[:, :, 1:], (0, 1, 0, 2), value=0.3)).flatten(2).transpose(1, 2)
        return x.amax(1)


def small(network: type[nn.Module]):
    torch.manual_seed(0)
    model = in_normal_form(settled(network(), 16), 16)
    return model, quantise(model, pictures(8, 16), FAST).graph


@pytest.mark.parametrize("network", [SmallMobileNet, Gated, Excited, Multiplied, Rearranged])
def test_the_simulation_gives_the_integers_of_the_reference(network):
    _, graph = small(network)
    simulation = Simulation(graph)
    off = []
    for frame in pictures(16, 16, seed=3):
        with torch.no_grad():
            real = simulation(frame, simulation.effective())
        wanted = run_graph(graph, [frame[None]])
        for name, value in zip(simulation.outputs, real, strict=True):
            spec = graph.spec(name)
            integers = to_grid(value.numpy(), spec.grid, "uint8").astype(int)
            off.append(np.abs(integers - wanted[name]).ravel())
    distances = np.concatenate(off)
    assert (distances == 0).mean() > 0.98
    assert distances.max() <= 2


def test_every_operator_but_arg_max_has_a_gradient():
    names = {plugins.load("edgecnn.ops", name).__name__.rpartition(".")[2] for name in plugins.discover("edgecnn.ops")}
    covered = {plugins_name(op) for op in FUNCTIONS}
    assert names - covered == {"arg_max"}


def plugins_name(op: str) -> str:
    from edgecnn.ops import op_file

    return op_file(op)


def test_untouched_parameters_give_the_same_graph_back():
    _, graph = small(SmallMobileNet)
    back = Simulation(graph).integers()
    assert all(np.array_equal(array, back.constants[name]) for name, array in graph.constants.items())


def test_tuning_comes_nearer_to_the_float_model_and_repeats():
    torch.manual_seed(0)
    model = in_normal_form(settled(SmallMobileNet()))
    frames, judge = pictures(48, seed=1), Judge(model, pictures(16, seed=2))
    with weights_of(4):
        graph = quantise(model, pictures(8), FAST).graph
        assert can_tune(graph)
        first, second = (tune(graph, model, frames, judge, 3, 0) for _ in range(2))
    assert judge(first) > judge(graph) + 0.5
    assert first.tensors == graph.tensors
    assert max(int(np.abs(a).max()) for name, a in first.constants.items() if name.endswith("/weight")) <= 7
    assert all(np.array_equal(array, second.constants[name]) for name, array in first.constants.items())


@pytest.mark.parametrize("tuned", [False, True])
def test_the_result_says_whether_fine_tuning_changed_anything(tuned, monkeypatch):
    def found(graph, *rest):
        return replace(graph, name="tuned") if tuned else graph

    monkeypatch.setattr(pipeline, "tune", found)
    model, _ = small(SmallMobileNet)
    result = pipeline.quantise(model, pictures(6, 16), replace(FAST, judged=True, tuning_passes=1))
    assert result.tuned is tuned
    assert (result.graph.name == "tuned") is tuned


def test_what_has_no_gradient_is_named_and_nothing_is_tuned(monkeypatch):
    model, graph = small(SmallMobileNet)
    assert obstacle(graph) == ""
    without = {name: function for name, function in tuning.FUNCTIONS.items() if name != "Gemm"}
    monkeypatch.setattr(tuning, "FUNCTIONS", without)
    monkeypatch.setattr(pipeline, "tune", lambda *rest: pytest.fail("it was tuned all the same"))
    (layer,) = [node.name for node in graph.nodes if node.op == "Gemm"]
    assert (can_tune(graph), obstacle(graph)) == (False, f"Gemm '{layer}'")
    result = pipeline.quantise(model, pictures(6, 16), replace(FAST, judged=True, tuning_passes=1))
    assert (result.tuned, result.obstacle) == (False, f"Gemm '{layer}'")


def test_threads_are_as_before():
    model, graph = small(SmallMobileNet)
    before = torch.get_num_threads()
    tune(graph, model, pictures(2, 16), Judge(model, pictures(2, 16)), 1, 0)
    assert torch.get_num_threads() == before
