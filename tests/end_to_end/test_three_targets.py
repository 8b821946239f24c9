"""One trained network, one command, three targets: what is in the bundle, and that it proves itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgecnn
from edgecnn.cli import app
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import load_entry, run_frames
from tests.end_to_end import stripes

ENGINES = ["onnxruntime", "openvino", "litert"]
MODELS = {"model.onnx", "model.xml", "model.bin", "model.tflite"}
TEXTS = {"manifest.json", "report.html", "report.json", "requirements.txt"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def report(bundle: Path) -> dict:
    return json.loads((bundle / "report.json").read_text())


def test_the_bundle_holds_what_the_design_says(bundle: Path) -> None:
    assert set(contents(bundle)) == MODELS | TEXTS | {"golden.npz", "graph.npz", "health.npz"}
    assert [path.name for path in bundle.parent.iterdir()] == ["stripes"]


def test_the_manifest_is_the_contract(bundle: Path, weights: Path) -> None:
    document = json.loads((bundle / "manifest.json").read_text())
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents(bundle).items()}
    assert {name: entry["sha256"] for name, entry in document["files"].items()} == {
        name: digest for name, digest in digests.items() if name != "manifest.json"
    }
    assert document["task"] == "classify"
    assert document["labels"] == list(stripes.LABELS)
    assert document["input"]["tensor"]["shape"] == [1, 32, 32, 3]
    assert (document["input"]["tensor"]["dtype"], document["input"]["color"]) == ("uint8", "bgr")
    assert [engine["name"] for engine in document["engines"]] == ENGINES
    source = document["provenance"]
    assert source["model_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (source["mean"], source["std"]) == (list(stripes.MEAN), list(stripes.STD))
    assert (source["recipe"], source["calibration_count"]) == ("default", 20)


def test_the_report_shows_every_fold(report: dict, network: stripes.StripeNet) -> None:
    norms = [name for name, layer in network.named_modules() if type(layer).__name__ == "BatchNorm2d"]
    folded = report["folds"]["folded"]
    assert len(folded) == len(norms) == 6
    assert all(any(name in item["batch_norm"] for item in folded) for name in norms)
    assert report["folds"]["unfolded"] == []
    assert 0 <= report["folds"]["float_difference"] <= 1e-5


def test_the_report_says_what_was_measured(report: dict) -> None:
    assert report["targets"] == ["rpi", "intel", "coral"]
    assert {item["file"] for item in report["artefacts"]} == MODELS
    assert [(item["engine"], item["max_lsb"], item["status"]) for item in report["engines"]] == [
        (engine, 0, "exact") for engine in ENGINES
    ]
    assert (report["calibration"]["images"], report["calibration"]["skipped"]) == (20, [])
    assert report["frame"]["fallback"] is None
    assert report["frame"]["border_effect"] < 0.05
    assert report["accuracy"]["images"] == 20
    assert [item["engine"] for item in report["accuracy"]["per_engine"]] == ENGINES
    assert min(item["agreement"] for item in report["accuracy"]["per_engine"]) == 1.0
    assert min(item["sqnr_db"] for item in report["accuracy"]["per_engine"]) > 30
    assert any(note.startswith("calibrated on 20 image(s)") for note in report["notes"])


def test_the_page_needs_nothing_from_elsewhere(bundle: Path) -> None:
    page = (bundle / "report.html").read_text()
    assert "stripes" in page
    assert 'src="http' not in page
    assert "@import" not in page


def test_the_device_is_told_what_to_install(bundle: Path) -> None:
    lines = (bundle / "requirements.txt").read_text().splitlines()
    for package in ("onnxruntime", "openvino", "ai-edge-litert"):
        assert any(line.startswith(package) for line in lines), lines


def test_the_formats_own_metadata_name_the_classes(bundle: Path) -> None:
    onnx = pytest.importorskip("onnx")
    properties = {item.key: item.value for item in onnx.load(bundle / "model.onnx").metadata_props}
    assert properties["labels"].splitlines() == list(stripes.LABELS)
    info = (bundle / "model.xml").read_text()
    assert "model_info" in info
    assert all(label in info for label in stripes.LABELS)
    assert all(label.encode() in (bundle / "model.tflite").read_bytes() for label in stripes.LABELS)


def test_every_engine_gives_the_references_integers(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        golden = opened.golden()
        assert golden.frames.shape == (8 + 4, 32, 32, 3)
        for entry in opened.engines:
            with load_entry(opened, entry, threads=1) as engine:
                assert np.array_equal(run_frames(engine, golden.frames)[0], golden.outputs[0]), entry.name


def test_verify_repeats_the_proof_op_by_op(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verify", str(bundle), "--per-op", "--threads", "1", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["status"] == "exact"
    assert {item["file"]: item["status"] for item in document["grids"]} == dict.fromkeys(
        MODELS - {"model.bin"}, "exact"
    )
    assert {item["engine"] for item in document["engines"]} == {*ENGINES, "reference"}
    ops = {(item["engine"], item["node"]): item["max_lsb"] for item in document["ops"]}
    assert len(ops) == len(document["ops"]) == 3 * 11
    assert max(ops.values()) == 0


def test_bench_as_json(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench", str(bundle), "--engine", "onnxruntime", "--runs", "3", "--threads", "1", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["engine"], document["runs"], document["threads"]) == ("onnxruntime", 3, 1)
    assert 0 < document["inference"]["median"] <= document["total"]["p99"]


@pytest.mark.parametrize("engine", [*ENGINES, "reference"])
def test_frames_of_another_size_get_the_float_models_answer(
    bundle: Path, network: stripes.StripeNet, engine: str
) -> None:
    rng = np.random.default_rng(5)
    classes = [index % 4 for index in range(24)]
    frames = [stripes.picture(rng, label, 90, 110) for label in classes]
    small = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_LINEAR_EXACT) for frame in frames])
    wanted = network(stripes.normalised(small)).argmax(1).tolist()
    with edgecnn.load(bundle, engine=engine, threads=1) as model:
        results = [model(frame) for frame in frames]
    assert [result.label for result in results] == [stripes.LABELS[index] for index in wanted]
    assert np.mean(np.equal(wanted, classes)) > 0.9
    assert all(result.score is not None and 0.25 <= result.score <= 1 for result in results)


def test_the_same_request_gives_the_same_bytes(bundle: Path, request_line: list[str], tmp_path: Path) -> None:
    assert app.main([*request_line, "-o", str(tmp_path / "again")]) == 0
    first, second = contents(bundle), contents(tmp_path / "again")
    assert [name for name in first if first[name] != second.get(name)] == []
    assert set(first) == set(second)


def test_a_zip_is_the_same_bundle(
    bundle: Path, request_line: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stripes.zip"
    assert app.main([*request_line, "-o", str(path), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document.pop("bundle") == str(path)
    assert document == json.loads((bundle / "report.json").read_text())
    assert list(tmp_path.iterdir()) == [path]
    with Bundle.open(path) as opened, Bundle.open(bundle) as folder:
        assert opened.manifest == folder.manifest
    assert app.main(["verify", str(path), "--engine", "onnxruntime", "--threads", "1"]) == 0


def test_overwrite_replaces_the_bundle_only_when_asked(
    request_line: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = ["--target", "rpi", "--recipe", "fast", "-o", str(tmp_path / "b")]
    line = request_line[: request_line.index("--target")]
    assert app.main([*line, *output]) == 0
    before = contents(tmp_path / "b")
    assert app.main([*line, *output]) == 5
    assert "exists already" in capfd.readouterr().err
    assert contents(tmp_path / "b") == before
    assert app.main([*line, *output, "--overwrite", "--resize", "crop"]) == 0
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["input"]["resize"]["mode"] == "crop"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
