from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from edgecnn.errors import BundleError
from edgecnn.report import charts
from edgecnn.report.document import EdgeTpuRow, Report
from edgecnn.report.html import count, decibels, percent, real, render, size
from edgecnn.report.mistakes import MistakePicture
from tests.report.documents import full, layer, not_run, proof

HOSTILE = "<script>alert('x')</script>\"'&"


class Page(HTMLParser):
    """Collects elements, attributes and text, and checks that elements close in order."""

    VOID = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def words(report: Report) -> str:
    return re.sub(r"\s+", " ", Page(render(report)).text)


def test_the_numbers_stand_on_the_page() -> None:
    text = words(full())

    for expected in (
        "tiles",
        "EXACT on 1 engine (x86_64, avx_vnni)",
        "98.50 %",
        "96.77 % to 99.31 %",
        "float: 79.25 %",
        "23.4 dB",
        "11.7 M",
        "1.81 G",
        "4.81 MB",
        "integer 124",
        "0.40 % of their largest value",
        "0.485, 0.456, 0.406",
        "differ by 2.5e-07",
        "300 used, 0 skipped",
        "calibrated on daylight only",
        "onnxruntime 1.2.3",
        "2 LSB",
    ):
        assert expected in text, expected


def test_the_page_needs_nothing_from_outside() -> None:
    page = Page(render(full()))

    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes
    assert "url(" not in render(full())
    assert "@import" not in render(full())


def test_the_page_is_deterministic_and_knows_both_colour_schemes() -> None:
    assert render(full()) == render(full())
    assert "prefers-color-scheme: dark" in render(full())
    assert "width=device-width" in render(full())


def test_every_text_is_escaped() -> None:
    report = full()
    report["model"] |= {"name": HOSTILE, "source": HOSTILE, "digest": HOSTILE, "task": HOSTILE}
    report["model"]["input"] |= {"color": HOSTILE, "resize": HOSTILE}
    report["targets"] = [HOSTILE]
    report["layers"] = [layer(HOSTILE) | {"op": HOSTILE}]
    report["folds"] = {
        "folded": [{"batch_norm": HOSTILE, "into": HOSTILE, "kind": HOSTILE}],
        "unfolded": [{"batch_norm": HOSTILE, "reason": HOSTILE}],
        "float_difference": 0.0,
    }
    report["frame"]["fallback"] = HOSTILE
    report["calibration"] |= {"recipe": HOSTILE, "observer": HOSTILE, "skipped": [HOSTILE], "digest": HOSTILE}
    report["engines"] = [proof(HOSTILE, "failed") | {"version": HOSTILE, "reason": HOSTILE}, not_run(HOSTILE)]
    report["processor"] = HOSTILE
    report["accuracy"]["per_engine"] = [{"engine": HOSTILE, "agreement": None, "sqnr_db": None, "top1": None}]
    report["artefacts"] = [{"file": HOSTILE, "engine": HOSTILE, "target": HOSTILE, "bytes": 7}]
    report["edge_tpu"] = [{"node": HOSTILE, "op": HOSTILE, "maps": False, "reason": HOSTILE, "suggestion": HOSTILE}]
    report["notes"] = [HOSTILE]
    row = report["decisions"]["pictures"][-1]
    judged = {"decision": HOSTILE, "score": 0.7}
    report["decisions"]["pictures"][-1] = row | {"picture": HOSTILE, "label": HOSTILE, "float": judged}
    report["decisions"] |= {"engine": HOSTILE, "verdict": HOSTILE, "remarks": [HOSTILE]}
    group = {
        "name": HOSTILE,
        "defective": 1,
        "good": 1,
        "float": None,
        "int8": report["decisions"]["inspection"]["int8"],
    }
    names = {"said": [HOSTILE], "rows": [{"kind": HOSTILE, "float": None, "int8": [1]}], "float": None, "int8": None}
    report["decisions"] |= {"by_kind": [group], "by_source": [group], "confusion": names}
    mistake = MistakePicture(HOSTILE, HOSTILE, (HOSTILE,), HOSTILE, True)
    page = Page(render(report, {}, [mistake]))

    assert "script" not in page.elements
    assert page.text.count(HOSTILE) > 25
    assert not [name for name, _ in page.attributes if name not in KNOWN_ATTRIBUTES]


KNOWN_ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "class", "style", "title", "role", "aria-label", "open"),
    *("viewbox", "preserveaspectratio", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "r", "points"),
    *("src", "alt", "colspan"),
}


def test_what_was_not_measured_is_said() -> None:
    text = words({"schema": 1})

    assert "not proven" in text
    assert "no pictures were given with --eval" in text
    assert "Unnamed model" in text


@pytest.mark.parametrize("section", [name for name in full() if name != "schema"])
def test_any_section_may_be_absent(section: str) -> None:
    report: Any = full()
    del report[section]

    assert words(report)


def test_the_badge_says_the_worst_word_and_where() -> None:
    report = full()
    report["engines"].append(proof("litert", "equivalent"))
    assert "EQUIVALENT on 2 engines (x86_64, avx_vnni)" in words(report)

    report["engines"] += [proof("onnx", "failed"), not_run("openvino")]
    text = words(report)
    assert "FAILED on onnx, openvino (x86_64, avx_vnni)" in text
    assert "openvino 1.2.3FAILEDdid not run cannot load it" in text


def test_the_badge_counts_engines_that_did_not_run() -> None:
    report = full()
    report["artefacts"].append({"file": "model.xml", "engine": "openvino", "target": "intel", "bytes": 7})
    assert "EXACT on 1 of 2 engines (x86_64, avx_vnni)" in words(report)


def test_every_output_of_every_engine_is_shown() -> None:
    report = full()
    report["engines"].append(proof("litert", "failed"))
    text = words(report)
    assert "onnxruntime 1.2.3EXACTbest" in text
    assert "litert 1.2.3FAILEDbest" in text
    assert "1.000% 90.00 %2 LSB31.2 dB" in text


def test_edge_tpu_nodes_with_one_reason_are_told_together() -> None:
    report = full()
    row: EdgeTpuRow = {
        "node": "a",
        "op": "LeakyRelu",
        "maps": False,
        "reason": "not an operation",
        "suggestion": "ReLU6",
    }
    good: EdgeTpuRow = {"node": "g", "op": "Conv", "maps": True, "reason": "", "suggestion": ""}
    report["edge_tpu"] = [good, *(row | {"node": name} for name in "abcde"), good]
    page = render(report)

    assert "2 of 7 operations map" in words(report)
    assert "a, b, c and 2 more" in words(report)
    assert page.count('<i class="off"') == 6  # five cells and the legend
    assert 'title="Conv g: on the CPU, behind a node that does not map"' in page


def test_what_is_no_report_is_refused() -> None:
    document: Any = {}

    with pytest.raises(BundleError, match="'schema' is missing"):
        render(document)


def test_numbers_as_text() -> None:
    assert (percent(0.985), percent(1.0), percent(0.99999), percent(None)) == ("98.50 %", "100.00 %", "> 99.99 %", "–")
    assert (count(11_689_512), count(1500), count(12), count(None)) == ("11.7 M", "1.5 k", "12", "–")
    assert (size(512), size(4_812_345)) == ("512 B", "4.81 MB")
    assert (decibels(23.44), decibels(None)) == ("23.4 dB", "–")
    assert (real(-0.0), real(0.0123456), real(None)) == ("0", "0.01235", "–")


def test_shares_leave_out_layers_without_any() -> None:
    drawing = charts.shares([layer("a", 3000), layer("b", 0), layer("c", 1000)], "macs")

    assert (drawing.count, [bar.label for bar in drawing.bars]) == (2, ["a: 75.0%", "c: 25.0%"])
    assert drawing.bars[1].y == pytest.approx(200 / 3)
    assert [tick.label for tick in drawing.ticks] == ["75%", "0"]


def test_ranges_are_inside_the_drawing_and_zero_is_marked() -> None:
    drawing = charts.ranges([layer("a", low=-3.0, high=1.0), layer("b", low=0.0, high=15.0)])
    zero = next(tick for tick in drawing.ticks if tick.label == "0")

    # log2(1 + 15) = 4 above and log2(1 + 3) = 2 below.
    assert zero.y == pytest.approx(100 * 4 / 6)
    assert (drawing.bars[1].y, drawing.bars[1].height) == (pytest.approx(0), pytest.approx(100 * 4 / 6))
    assert drawing.bars[0].y + drawing.bars[0].height == pytest.approx(100)


def test_distances_fill_the_bar() -> None:
    parts = charts.distances(proof("litert", "failed")["outputs"][1])

    assert [(part.step, part.width) for part in parts] == [(0, 90), (1, 9), (2, 1)]
    assert parts[-1].x + parts[-1].width == pytest.approx(100)


def test_the_interval_is_on_an_axis_from_a_round_number() -> None:
    place = charts.interval({"value": 0.985, "low": 0.9677, "high": 0.9931})

    assert place.first == 0.95
    assert place.value == pytest.approx(70)
