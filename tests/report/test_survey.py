from __future__ import annotations

import torch
from torch import nn

from edgecnn.graph import import_torch
from edgecnn.profile import load_target
from edgecnn.quant.float_graph import read
from edgecnn.report.pitfalls import Knowledge
from edgecnn.report.survey import Survey, edge_tpu_rows, survey_integers, survey_model
from tests.report.networks import block, convnet, head, network
from tests.report.test_layers import integer_graph

CORAL, RPI = load_target("coral"), load_target("rpi")


def surveyed(module: nn.Module, *shape: int, knowledge: Knowledge | None = None) -> Survey:
    model = import_torch(module, (1, *shape))
    return survey_model("net", model, knowledge or Knowledge(mean=(0.5,), std=(0.5,)), [RPI, CORAL])


def test_a_good_model_lowers_for_all_targets_and_shows_no_made_up_grid() -> None:
    survey = surveyed(convnet(), 1, 28, 28)

    assert (survey.name, survey.quantised, survey.verdict.findings) == ("net", False, ())
    assert [(outlook.target, outlook.lowers) for outlook in survey.outlooks] == [("rpi", True), ("coral", True)]
    assert all(layer.grid is None for layer in survey.table.layers)
    assert survey.table.input_shape == (1, 28, 28, 1)
    # Three batch norms are folded: each convolution gains a bias it had already, and gamma and beta are gone.
    assert survey.table.parameters == 320 + 18_496 + 73_856 + 33_024 + 2_570
    assert "3 batch norm(s) fold into their neighbours." in survey.notes


def test_the_edge_tpu_pre_flight_has_a_row_for_every_node() -> None:
    rpi, coral = surveyed(convnet(), 1, 28, 28).outlooks

    assert rpi.edge_tpu == ()
    assert {row["op"] for row in coral.edge_tpu} >= {"Conv", "MaxPool", "ReduceMean", "Gemm"}
    assert all(row["maps"] for row in coral.edge_tpu)
    assert "0.13 MB of weights stay on the chip" in coral.remark


def test_a_node_that_does_not_map_sends_all_behind_it_to_the_cpu() -> None:
    class Best(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.argmax(1)

    coral = surveyed(nn.Sequential(block(3, 8), Best()), 3, 16, 16).outlooks[1]
    last = coral.edge_tpu[-1]

    assert (last["op"], last["maps"]) == ("ArgMax", False)
    assert "does not map: it and all behind it, 1 of" in coral.remark


def test_every_node_without_a_normal_form_is_refused_at_once() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(torch.erf(x))

    survey = surveyed(nn.Sequential(block(3, 8), Odd(), head(8)), 3, 16, 16)

    for outlook in survey.outlooks:
        assert outlook.lowers is False
        assert [refusal.op for refusal in outlook.refusals] == ["Erf", "Sin"]
        assert all(refusal.suggestion for refusal in outlook.refusals)
    # The layers are those of the model as it came.
    assert "BatchNormalization" in [layer.op for layer in survey.table.layers]


def test_a_model_that_takes_no_picture_is_said_to() -> None:
    survey = surveyed(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), 8)

    assert [outlook.lowers for outlook in survey.outlooks] == [False, False]
    assert survey.outlooks[0].remark
    assert survey.verdict.unjudged == {"receptive_field": "the input (1, 8) is not a picture of rank 4"}


def test_an_integer_graph_keeps_its_grids() -> None:
    survey = survey_integers("tiny", integer_graph(), Knowledge(finished=True, mean=(0.5,), std=(0.5,)), [RPI])

    assert survey.quantised
    assert survey.table.layers[1].range == (-5.0, 122.5)
    assert survey.outlooks[0].lowers


def test_a_survey_as_json_has_everything() -> None:
    document = surveyed(convnet(), 1, 28, 28, knowledge=Knowledge()).as_json()

    assert (document["model"], document["input"], document["quantised"]) == ("net", [1, 28, 28, 1], False)
    assert document["pitfalls"][0]["rule"] == "raw_input"
    assert document["macs"] == sum(row["macs"] for row in document["layers"])
    assert [item["target"] for item in document["targets"]] == ["rpi", "coral"]


def test_edge_tpu_rows_are_rows_of_the_report() -> None:
    assert CORAL.edge_tpu is not None
    rows, remark = edge_tpu_rows(integer_graph(), CORAL.edge_tpu)

    assert [row["op"] for row in rows] == ["Transpose", "Conv", "ArgMax"]
    assert rows[1] == {"node": "conv", "op": "Conv", "maps": True, "reason": "", "suggestion": ""}
    assert remark.startswith("'best' does not map")


def test_a_picture_that_comes_as_nhwc_is_seen_as_one() -> None:
    class Channels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(block(3, 8), head(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x.permute(0, 3, 1, 2))

    found = network(Channels(), 16, 12, 3)

    assert (found.image_size, found.channels) == ((16, 12), 3)
    assert surveyed(Channels(), 16, 12, 3).outlooks[0].lowers


def test_the_survey_leaves_a_model_that_can_be_quantised() -> None:
    model = import_torch(convnet(), (1, 1, 28, 28))
    survey_model("net", model, Knowledge(), [])

    assert read(model).shapes["frame"] == (1, 28, 28, 1)
