"""What the report says of layers: sections, words, drawings, and the page."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.quant import pipeline
from edgecnn.quant.saturation import activation_fits, weight_fits
from edgecnn.quant.sensitivity import LayerNoise, Sensitivity, measure
from edgecnn.report import document
from edgecnn.report.document import Report
from edgecnn.report.html import render
from edgecnn.report.layer_rows import SensitivitySection
from edgecnn.report.layer_sections import kind_of, sensitivity_section, tensor_section
from edgecnn.report.layers import integer_layers
from edgecnn.report.sensitivity import columns, combined, culprits, dead_channels, histogram, sentences, shown
from tests.quant.networks import FAST, SmallMobileNet, in_normal_form, pictures, settled
from tests.report.documents import layers_measured


def with_one_bad_layer() -> nn.Module:
    """Return a network whose second convolution has one channel of 300 times the others' range, which nobody reads."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)]
    with torch.no_grad():
        parts[2].weight[3] *= 300
        parts[3].weight[:, 3] = 0
    return nn.Sequential(*parts)


@pytest.fixture(scope="module")
def report() -> Report:
    model, frames = in_normal_form(with_one_bad_layer(), 16), pictures(4, 16)
    result = pipeline.quantise(model, frames, FAST)
    graph = result.graph
    return {
        "schema": 1,
        "layers": integer_layers(graph).rows(),
        "sensitivity": sensitivity_section(measure(model, graph, frames), graph),
        "tensors": tensor_section(graph, activation_fits(graph, result.statistics), weight_fits(graph)),
    }


def test_the_bad_layer_is_named_first(report: Report) -> None:
    section = report["sensitivity"]
    bad = section["layers"][1]["layer"]
    worst, *others = culprits(section)
    assert (worst.layer, worst.part, worst.column) == (bad, "output", 1)
    assert worst.share > 0.9
    assert worst.share > 10 * others[0].share
    assert worst.decibels == pytest.approx(combined(section["sum_db"]), abs=0.5)
    first = sentences(section)[0]
    assert first.startswith(f"The output of the second 3×3 convolution '{bad}' makes 100\N{NO-BREAK SPACE}%")
    assert shown(report).histograms[0].row["layer"] == bad


def test_shares_are_of_the_noise_of_all_layers(report: Report) -> None:
    rows = report["sensitivity"]["layers"]
    shares = [(row["weights_share"], row["output_share"]) for row in rows]
    assert np.sum(shares) == pytest.approx(1, abs=1e-4)
    powers = [[10 ** (-db[0] / 10) if db else 0 for db in (row["weights_db"], row["output_db"])] for row in rows]
    np.testing.assert_allclose(shares, np.asarray(powers) / np.sum(powers), atol=1e-3)
    assert report["sensitivity"]["sum_db"] == pytest.approx([-10 * math.log10(np.sum(powers))], abs=0.02)


def test_the_sections_are_plain_json(report: Report) -> None:
    assert document.check(json.loads(document.dumps(report))) == report


def test_two_outputs_count_the_same() -> None:
    """The second output is a thousand times as noisy all over; the first layer is all noise of the first output."""
    graph = pipeline.quantise(in_normal_form(with_one_bad_layer(), 16), pictures(1, 16), FAST).graph
    names = [node.name for node in graph.nodes if node.op == "Conv"][:2]
    layers = (
        LayerNoise(names[0], "a", (50.0, math.inf), None),
        LayerNoise(names[1], "b", None, (math.inf, 20.0)),
    )
    section = sensitivity_section(Sensitivity(3, ("x", "y"), layers, (50.0, -math.inf)), graph)
    assert [row["weights_share"] for row in section["layers"]] == [0.5, 0.0]
    assert [row["output_share"] for row in section["layers"]] == [0.0, 0.5]
    assert section["layers"][0]["weights_db"] == [50.0, None]
    assert section["layers"][0]["output_db"] is None
    assert (section["sum_db"], section["whole_db"]) == ([50.0, 20.0], [50.0, None])
    assert combined([50.0, 20.0]) == pytest.approx(-10 * math.log10((1e-5 + 1e-2) / 2))
    assert combined([None]) is None


def test_layers_are_called_what_people_call_them() -> None:
    graph = pipeline.draft(in_normal_form(settled(SmallMobileNet())))
    kinds = {kind_of(node, graph) for node in graph.nodes}
    assert kinds >= {"depthwise convolution", "1×1 convolution", "3×3 convolution", "addition", "fully connected layer"}


def test_words() -> None:
    section = layers_measured()["sensitivity"]
    first, following, sums = sentences(section)
    assert first == "The weights of the first depthwise convolution 'dw1' make 37\N{NO-BREAK SPACE}% of the noise."
    assert "the output of the addition 'sum'" in following
    assert "All weights together make 52" in sums


def test_no_layer_stands_out() -> None:
    section = layers_measured()["sensitivity"]
    for row in section["layers"]:
        row["weights_share"], row["output_share"] = min(row["weights_share"], 0.04), 0.001
    assert sentences(section)[0].startswith("No layer stands out; the worst, the weights of the first depthwise")


def test_layers_that_make_up_for_one_another_are_said_to() -> None:
    section = layers_measured()["sensitivity"]
    assert not any("make up" in sentence for sentence in sentences(section))
    section["whole_db"] = [30.0]
    assert any("make up for much of one another's noise" in sentence for sentence in sentences(section))


def quiet() -> SensitivitySection:
    row = layers_measured()["sensitivity"]["layers"][0]
    silent = row | {"weights_db": [None], "output_db": [None], "weights_share": 0.0, "output_share": 0.0}
    return {"frames": 1, "outputs": ["y"], "sum_db": [None], "whole_db": [None], "layers": [silent]}


def test_no_noise_at_all() -> None:
    assert sentences(quiet()) == ["No layer makes any noise at the outputs when it is quantised alone."]
    assert (columns(quiet()).marks, columns(quiet()).whole) == ((), None)
    assert "No layer makes any noise" in render({"schema": 1, "sensitivity": quiet()})


def test_dead_channels_are_told() -> None:
    tensors = layers_measured()["tensors"]
    assert dead_channels(tensors) == ["3 dead channels in 'dw1': with weights that are all zero they see nothing."]
    tensors["weights"] = [row | {"dead": 0} for row in tensors["weights"]]
    assert dead_channels(tensors) == []


def test_marks_stand_in_order_and_the_noisiest_on_top() -> None:
    drawing = columns(layers_measured()["sensitivity"])
    ranked = {mark.rank: mark for mark in drawing.marks if mark.rank}
    assert [tick.label for tick in drawing.ticks] == ["20 dB", "30 dB", "40 dB", "50 dB"]
    # 24.3 dB on a scale from 20 to 50; the first of four layers.
    assert (ranked[1].x, ranked[1].part) == (12.5, "weights")
    assert ranked[1].y == pytest.approx(100 * 4.3 / 30, abs=0.1)
    assert [ranked[rank].y for rank in sorted(ranked)] == sorted(mark.y for mark in ranked.values())
    assert drawing.whole.y == pytest.approx(100 * 0.5 / 30, abs=0.1)
    assert all(0 <= mark.y <= 100 and 0 < mark.x < 100 for mark in drawing.marks)


def test_a_histogram_marks_what_the_grid_cuts_off() -> None:
    row = layers_measured()["tensors"]["activations"][0]
    drawing = histogram(
        row | {"observed": [-2.0, 6.0], "chosen": [-0.5, 8.0], "histogram": [0.01, 0.0, 0.98, 0.01]}, 0.2
    )
    (left,) = drawing.outside
    assert (drawing.low, drawing.high) == (-2.0, 8.0)
    assert drawing.chosen == (15.0, 100.0)
    assert (left.x, left.width) == (0.0, 20.0)
    # log10 of 0.01 is -2, on a scale from -6 to 0.
    assert left.height == pytest.approx(100 * 4 / 6)
    assert [bar.x for bar in drawing.inside] == [40.0, 60.0]


def test_the_page_shows_it_all(report: Report) -> None:
    page = render(report)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "Where it hurts" in text
    assert "add up only approximately" in text
    assert f"noise of {len(report['sensitivity']['layers'])} layers" in text
    assert page.count('<i class="output worst"') + page.count('<i class="weights worst"') == 6
    assert page.count("<figure>") == 4


@pytest.mark.parametrize("section", ["sensitivity", "tensors"])
def test_one_section_alone(report: Report, section: str) -> None:
    page = render({"schema": 1, section: report[section]})
    assert "Where it hurts" in page
    assert ("Tensors that saturate most" in page) == (section == "tensors")


def test_without_either_there_is_nothing() -> None:
    assert shown({"schema": 1}) is None
    assert "Where it hurts" not in render({"schema": 1})


def test_names_are_escaped() -> None:
    hostile = "<b onclick=x>'\"&"
    text = (
        json.dumps(layers_measured())
        .replace('"dw1', json.dumps(hostile)[:-1])
        .replace('"depthwise', json.dumps(hostile)[:-1])
    )
    page = render(json.loads(text))
    assert "<b onclick" not in page
    assert page.count("&lt;b onclick=x&gt;&#39;&#34;&amp;") > 10
