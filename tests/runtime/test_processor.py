from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.cli import app
from edgecnn.errors import VerificationError
from edgecnn.integer_graph import IntegerGraph, write_npz
from edgecnn.runtime import processor
from edgecnn.runtime.bundle import Bundle, Golden
from edgecnn.runtime.processor import read, suspicion
from edgecnn.runtime.verify import verify_engines

MakeBundle = Callable[..., Path]
X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f {}\n"
ADVICE = "has no VNNI, so sums of 8-bit products saturate in this engine. Export the model for the target 'x86'"


@pytest.fixture
def without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(X86.format(""))
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.fixture
def off_by_one(make_bundle: MakeBundle, golden: Golden, tmp_path: Path) -> Path:
    shifted = Golden(golden.frames, (golden.outputs[0] + np.uint8(1),))
    write_npz(tmp_path / "golden.npz", shifted.arrays())
    return make_bundle("shifted", golden__npz=tmp_path / "golden.npz")


@pytest.fixture
def reversed_scores(make_bundle: MakeBundle, golden: Golden, tmp_path: Path) -> Path:
    wrong = Golden(golden.frames, (np.ascontiguousarray(golden.outputs[0][:, ::-1]),))
    write_npz(tmp_path / "golden.npz", wrong.arrays())
    return make_bundle("wrong", golden__npz=tmp_path / "golden.npz")


@pytest.mark.parametrize(
    ("text", "machine", "saturates"),
    [
        (X86.format("avx512_vnni"), "x86_64", False),
        (X86.format("avx_vnni"), "AMD64", False),
        (X86.format(""), "x86_64", True),
        ("", "x86_64", False),
        ("Features\t: fp asimd\n", "aarch64", False),
    ],
)
def test_what_saturates(text: str, machine: str, saturates: bool) -> None:
    assert read(text, machine).saturates is saturates


@pytest.mark.usefixtures("without_vnni")
def test_only_wide_weights_on_engines_that_saturate_are_suspected(graph: IntegerGraph) -> None:
    weight = graph.constants["weight"]
    narrow = replace(graph, constants=graph.constants | {"weight": (weight // 2).astype(np.int8)})

    assert ADVICE in suspicion("onnxruntime", graph)
    assert "for the target 'intel-avx2'" in suspicion("openvino", graph)
    assert suspicion("litert", graph) == suspicion("reference", graph) == suspicion("onnxruntime", narrow) == ""


def test_nothing_is_suspected_on_other_processors(
    graph: IntegerGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(X86.format("avx_vnni"))
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")

    assert suspicion("onnxruntime", graph) == ""


@pytest.mark.usefixtures("without_vnni")
def test_verify_suspects_saturation_where_outputs_differ(off_by_one: Path, make_bundle: MakeBundle) -> None:
    with Bundle.open(off_by_one) as bundle:
        own, reference = verify_engines(bundle)
    assert (own.status, reference.suspicion) == ("pass", "")
    assert ADVICE in own.suspicion


@pytest.mark.usefixtures("without_vnni")
def test_a_failed_verification_says_what_to_do(reversed_scores: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verify", str(reversed_scores), "--engine", "onnxruntime"]) == 1
    assert ADVICE in " ".join(capfd.readouterr().err.split())


@pytest.mark.usefixtures("without_vnni")
def test_a_failed_self_test_says_what_to_do(reversed_scores: Path) -> None:
    with pytest.raises(VerificationError, match="This processor " + ADVICE.split(".")[0]):
        edgecnn.load(reversed_scores)


def test_it_imports_without_numpy() -> None:
    code = "import sys; sys.modules['numpy'] = None; import edgecnn.runtime.processor as p; print(p.here().machine)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
