from __future__ import annotations

import json

import pytest

from edgecnn.cli import app, doctor
from edgecnn.runtime.processor import read

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 {}\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("text", "machine", "found", "remark"),
    [
        (X86.format("avx512_vnni avx512f"), "x86_64", "x86_64, avx512_vnni", "older ones too"),
        (X86.format("avx_vnni"), "x86_64", "x86_64, avx_vnni", "older ones too"),
        (X86.format(""), "x86_64", "x86_64, avx2", "no VNNI: bundles are exact"),
        (X86.format("").replace("avx2", ""), "x86_64", "x86_64, no avx2", "OpenVINO refuses to run them"),
        ("", "AMD64", "AMD64, unknown", "no VNNI: bundles are exact"),
        (ARM.format("crc32 asimddp"), "aarch64", "aarch64, dot product", "exact"),
        (ARM.format("crc32"), "aarch64", "aarch64, no dot product", "exact"),
    ],
)
def test_processor(text: str, machine: str, found: str, remark: str) -> None:
    finding = doctor.processor(read(text, machine))

    assert finding.found == found
    assert remark in finding.hint


def test_tflite_runtime_with_numpy_2_is_a_trap() -> None:
    assert "pip install 'numpy<2'" in doctor.trap("tflite-runtime", "2.4.6")
    assert doctor.trap("tflite-runtime", "1.26.4") == ""
    assert doctor.trap("ai-edge-litert", "2.4.6") == ""


def test_distributions_of_requirement_lines() -> None:
    lines = ["ai-edge-litert>=2.0; platform_machine != 'armv7l'", "tflite-runtime>=2.14", "numpy<2", "a[b]"]

    assert doctor.distributions(lines) == ["ai-edge-litert", "tflite-runtime", "a"]


def test_json_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    code = app.main(["doctor", "--json"])

    document = json.loads(capsys.readouterr().out)
    groups = {item["group"] for item in document["findings"]}
    assert groups == {"machine", "core", "engine", "coral", "camera", "loop", "desk"}
    assert code == (0 if document["engines"] else 6)
    assert {"onnxruntime", "openvino", "litert"} == {
        item["name"] for item in document["findings"] if item["group"] == "engine"
    }


def test_an_engine_is_listed_once_for_all_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    app.main(["doctor", "--json"])

    engines = [item for item in json.loads(capsys.readouterr().out)["findings"] if item["group"] == "engine"]
    assert {item["name"]: item["hint"] for item in engines if item["ok"]}["onnxruntime"] == "for targets rpi, x86"
    assert len(engines) == 3


def test_no_engine_is_code_6_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "")

    assert app.main(["doctor"]) == 6
    captured = capsys.readouterr()
    assert "pip install 'edgecnn[rpi]'" in captured.err
    assert "edgecnn[intel]" in captured.out


def test_an_engine_that_cannot_be_imported_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "9.9")

    finding = doctor._engine("broken", ["board"], ["no-such-engine"])

    assert not finding.ok
    assert finding.found == "no-such-engine 9.9"
    assert "cannot be imported: No module named 'no_such_engine'" in finding.hint


def test_what_the_loop_lacks_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "" if package == "pymodbus" else "1.0")

    found = {item.name: item for item in doctor._loop()}

    assert (found["pymodbus"].ok, found["pymodbus"].hint) == (False, "for modbus: sinks: pip install 'edgecnn[modbus]'")
    assert (found["av"].ok, found["av"].hint) == (True, "for rtsp:// cameras")
