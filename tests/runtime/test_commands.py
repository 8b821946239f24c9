"""``edgecnn verify`` and ``edgecnn bench`` on a real bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecnn.arrays import write_npz
from edgecnn.cli import app
from edgecnn.runtime import processor
from edgecnn.runtime.bundle import Golden

MakeBundle = Callable[..., Path]


def test_verify_shows_engines_grids_and_the_word(
    make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "here", lambda: processor.Processor("x86_64", frozenset({"avx_vnni"})))
    assert app.main(["verify", str(make_bundle()), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("onnxruntime") and line.rstrip().endswith("EXACT") for line in lines)
    assert any(line.startswith("model.onnx") and "EXACT" in line for line in lines)
    assert lines[-1] == "EXACT: onnxruntime, reference, on this processor (x86_64, avx_vnni)"
    assert not any("PASS" in line for line in lines)


def test_verify_per_op_as_json(make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verify", str(make_bundle("tiny.zip")), "--per-op", "--engine", "onnxruntime", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["processor"]) == ("exact", str(processor.here()))
    assert [op["op"] for op in document["ops"]] == ["Transpose", "Conv", "ReduceMean"]
    assert [(grid["file"], grid["status"]) for grid in document["grids"]] == [("model.onnx", "exact")]
    assert document["engines"][0]["judgements"] == [{"of": "logits", "by": "top-1", "value": 1.0}]
    assert document["first_diverging_op"] == {}


def test_verify_fails_with_one_and_says_what(
    make_bundle: MakeBundle, golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Golden(golden.frames, (np.ascontiguousarray(golden.outputs[0][:, ::-1]),))
    write_npz(tmp_path / "golden.npz", wrong.arrays())
    path = make_bundle(golden__npz=tmp_path / "golden.npz")
    assert app.main(["verify", str(path), "--engine", "onnxruntime", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["status"] == "failed"
    assert "the proof FAILED on this processor (" in printed.err
    assert "onnxruntime: output 'logits' differs in 22 of 24 integers, by up to" in printed.err


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
    assert "proof of onnxruntime on golden frames: EXACT" in printed.err
    assert app.main(["bench", path, "--engine", "reference", "--runs", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["engine"], document["proof"]) == ("reference", "exact")
