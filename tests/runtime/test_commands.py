"""``edgecnn verify`` and ``edgecnn bench`` on a real bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.cli import app
from edgecnn.integer_graph import write_npz
from edgecnn.runtime.bundle import Golden

MakeBundle = Callable[..., Path]


def test_verify_shows_engines_grids_and_pass(make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verify", str(make_bundle()), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("onnxruntime") and line.rstrip().endswith("PASS") for line in lines)
    assert any(line.startswith("model.onnx") and "PASS" in line for line in lines)
    assert lines[-1].strip() == "PASS"


def test_verify_per_op_as_json(make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verify", str(make_bundle("tiny.zip")), "--per-op", "--engine", "onnxruntime", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert [op["op"] for op in document["ops"]] == ["Transpose", "Conv", "ReduceMean"]
    assert [(grid["file"], grid["status"]) for grid in document["grids"]] == [("model.onnx", "pass")]
    assert document["engines"][0]["agreement"]["kind"] == "top-1"
    assert document["first_diverging_op"] == {}


def test_verify_fails_with_one_and_says_what(
    make_bundle: MakeBundle, golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Golden(golden.frames, (np.ascontiguousarray(golden.outputs[0][:, ::-1]),))
    write_npz(tmp_path / "golden.npz", wrong.arrays())
    path = make_bundle(golden__npz=tmp_path / "golden.npz")
    assert app.main(["verify", str(path), "--engine", "onnxruntime", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["passed"] is False
    assert "FAIL: onnxruntime: only 0.0% agree (top-1)" in printed.err


def test_exit_codes(make_bundle: MakeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verify", str(tmp_path / "none")]) == 5
    assert app.main(["verify", str(make_bundle()), "--engine", "onnxruntme"]) == 2
    assert "Did you mean 'onnxruntime'" in capsys.readouterr().err
    assert app.main(["bench", str(tmp_path / "none")]) == 5


def test_bench(make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(make_bundle())
    assert app.main(["bench", path, "--threads", "1", "--runs", "3"]) == 0
    printed = capsys.readouterr()
    assert "tiny on onnxruntime, 1 thread(s), 3 frames of 1280x720" in " ".join(printed.out.split())
    assert "first result in a fresh process" in printed.out
    assert app.main(["bench", path, "--engine", "reference", "--runs", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engine"] == "reference"
