"""Layers are measured where that is cheap, and a note says where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.composer import Request, build, layers, open_model, rung
from edgecnn.composer.layers import FEWEST_FRAMES, MOST_FRAMES, affordable_frames
from edgecnn.quant import pipeline, tuning
from edgecnn.quant.pipeline import draft
from edgecnn.report.document import Report
from edgecnn.report.layers import LayerTable, integer_layers
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files
from tests.quant.networks import SmallMobileNet, in_normal_form


def table(macs: int) -> LayerTable:
    """Return the table of a network of which one layer has all ``macs``."""
    found = integer_layers(draft(in_normal_form(SmallMobileNet())))
    quiet = [replace(layer, macs=0) for layer in found.layers]
    return replace(found, layers=(replace(quiet[0], macs=macs), *quiet[1:]))


@pytest.mark.parametrize(
    ("macs", "frames"),
    [(0, MOST_FRAMES), (10**9, MOST_FRAMES), (10**10, 5), (10**11, FEWEST_FRAMES), (3 * 10**11, 0)],
)
def test_the_larger_the_model_the_fewer_frames(macs: int, frames: int) -> None:
    assert affordable_frames(table(macs)) == frames


def exported(folder: Path, recipe: str = "fast") -> tuple[Report, list[str]]:
    source, stages = open_model(str(onnx_files.write(folder / "net.onnx"))), list[str]()
    pictures = list(np.random.default_rng(2).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8))
    request = Request(source, source.expects, ("rpi",), Frames(pictures), recipe)
    return build(request, folder / "bundle", lambda stage, steps: stages.append(stage)), stages


def test_an_export_measures_its_layers(tmp_path: Path) -> None:
    report, stages = exported(tmp_path)
    section = report["sensitivity"]
    assert section["frames"] == MOST_FRAMES
    assert [row["kind"] for row in section["layers"]] == ["3×3 convolution", "mean"]
    assert [row["layer"] for row in report["tensors"]["activations"]] == [row["layer"] for row in section["layers"]]
    assert stages.count("measuring layers") >= len(section["layers"])
    assert "Where it hurts" in (tmp_path / "bundle" / "report.html").read_text()


def test_the_numbers_are_the_same_every_time(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exported(tmp_path / name)
        texts.append((tmp_path / name / "bundle" / "report.json").read_bytes())
    assert texts[0] == texts[1]


def test_after_fine_tuning_the_report_says_what_one_layer_alone_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantise = rung.quantise
    for tuned, folder in ((False, tmp_path / "a"), (True, tmp_path / "b")):
        folder.mkdir()
        monkeypatch.setattr(rung, "quantise", lambda *rest, tuned=tuned: replace(quantise(*rest), tuned=tuned))
        report, _ = exported(folder)
        page = (folder / "bundle" / "report.html").read_text()
        assert report["calibration"]["tuned"] is tuned
        assert (layers.TUNED in report["notes"]) is tuned
        assert ("then fine-tuned with the weights" in page) is tuned


def test_fine_tuning_that_brought_nothing_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "tune", lambda graph, *rest: graph)
    report, _ = exported(tmp_path, "best")
    assert report["calibration"]["tuned"] is False
    assert [note for note in report["notes"] if note.startswith("fine-tuning brought nothing")]


def test_fine_tuning_that_never_ran_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {name: function for name, function in tuning.FUNCTIONS.items() if name != "ReduceMean"}
    monkeypatch.setattr(tuning, "FUNCTIONS", without)
    report, _ = exported(tmp_path, "best")
    assert report["calibration"]["tuned"] is False
    (note,) = [note for note in report["notes"] if note.startswith("fine-tuning")]
    assert note == "fine-tuning was not tried: ReduceMean 'pool' has no gradient."


def test_a_model_too_large_is_not_measured_and_a_note_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST", 1000)
    report, stages = exported(tmp_path)
    assert "sensitivity" not in report
    assert "measuring layers" not in stages
    assert report["tensors"]["weights"]
    assert [note for note in report["notes"] if "was not measured" in note and "too long" in note]
