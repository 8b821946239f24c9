from __future__ import annotations

import json

import pytest

from edgecnn.cli import app


def test_table_names_target_engine_and_artefact(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["targets"]) == 0

    text = capsys.readouterr().out
    names = [line.split()[0] for line in text.splitlines()[1:] if not line.startswith(" ")]
    assert names == ["coral", "intel", "rpi", "x86"]
    assert "model.tflite" in text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["targets", "--json"]) == 0

    profiles = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["targets"]}
    assert profiles["rpi"]["opset"] == 18
    assert profiles["x86"]["engine"] == "onnxruntime"
    assert profiles["coral"]["edge_tpu"]["softmax_elements"] == 16_000
