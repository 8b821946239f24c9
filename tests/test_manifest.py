from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BundleError
from edgecnn.manifest import (
    EngineEntry,
    FileEntry,
    InputContract,
    Manifest,
    OutputContract,
    Provenance,
    Resize,
    _seal,
    check_file_name,
)
from edgecnn.proof import Limits
from edgecnn.tensor import QuantParams, TensorSpec

FILES = {name: FileEntry("a" * 64, 10) for name in ("model.onnx", "graph.npz", "golden.npz")}
FRAME = TensorSpec("frame", (1, 224, 320, 3), "uint8", QuantParams.per_tensor(1 / 255))
LOGITS = TensorSpec("logits", (1, 2), "uint8", QuantParams.per_tensor(0.1, 17))


def manifest(**changes: Any) -> Manifest:
    whole = Manifest(
        name="tile",
        task="defect",
        input=InputContract(FRAME, "bgr", Resize("crop", 0, 0.875)),
        outputs=(OutputContract(LOGITS, "NC", "logits"), OutputContract(TensorSpec("i", (1, 9), "int64"), "NX")),
        engines=(EngineEntry("onnxruntime", "rpi", ("model.onnx",)),),
        provenance=Provenance(
            "0.1.0", "net.onnx", "b" * 64, "best", "c" * 64, 300, 7, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
        ),
        labels=("good", "Kratzer ä"),
        thresholds={"Kratzer ä": 0.25},
        files=FILES,
    )
    return replace(whole, **changes)


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(manifest().dumps())
    change(document)
    return json.dumps(document)


NO_LIMITS = {"why": "It rounds otherwise.", "decisions": 1.0, "overlap": 2.0, "steps": 1}


def test_older_manifests_have_no_limits() -> None:
    document = json.loads(manifest().dumps())
    del document["engines"][0]["equivalent"]
    document["seal"] = _seal({key: value for key, value in document.items() if key != "seal"})
    assert Manifest.loads(json.dumps(document)) == manifest()


def test_limits_of_what_cannot_be_exact() -> None:
    limits = Limits("It rounds otherwise.", decisions=1.0, overlap=0.99, steps=1)
    entry = replace(manifest().engines[0], equivalent=limits)
    whole = manifest(engines=(entry,))
    assert Manifest.loads(whole.dumps()) == whole


def test_round_trip_is_exact_and_deterministic() -> None:
    text = manifest().dumps()
    assert Manifest.loads(text) == manifest()
    assert Manifest.loads(text).dumps() == text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_float32_scales_survive_the_text() -> None:
    grid = Manifest.loads(manifest().dumps()).input.tensor.grid
    assert grid == FRAME.grid


@given(st.text(min_size=1).filter(lambda text: text.strip()), st.lists(st.text(), unique=True), st.integers())
def test_any_text_survives(name: str, labels: list[str], seed: int) -> None:
    whole = manifest(
        name=name, labels=tuple(labels), thresholds={}, provenance=replace(manifest().provenance, seed=seed)
    )
    try:
        text = whole.dumps().encode()
    except UnicodeEncodeError:
        return
    assert Manifest.loads(text.decode()) == whole


def test_a_changed_threshold_is_noticed() -> None:
    text = edited(lambda document: document["thresholds"].update({"Kratzer ä": 0.99}))
    with pytest.raises(BundleError, match="it was edited after the bundle was written"):
        Manifest.loads(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "'schema' is 2, this version of edgecnn reads 1. Update edgecnn"),
        (lambda d: d.update(schema=0), "Export the bundle again"),
        (lambda d: d.update(schema="1"), "'schema' must be an integer, got '1'"),
        (lambda d: d.pop("labels"), "the field 'labels' is missing"),
        (lambda d: d.pop("seal"), "the field 'seal' is missing"),
        (lambda d: d.update(extra=1), "unknown field 'extra'|edited"),
        (lambda d: d.update(task="../evil"), "'task' must be a plain name, got '../evil'"),
        (lambda d: d.update(outputs=[]), "'outputs' must not be empty"),
        (lambda d: d.update(engines=[]), "'engines' must not be empty"),
        (lambda d: d["input"].update(color="rgb"), "'input.color' must be one of bgr, gray, channels, got 'rgb'"),
        (lambda d: d["input"].update(color="gray"), r"'input.color' gray needs 1 channel"),
        (lambda d: d["input"]["resize"].update(mode="zoom"), "'input.resize.mode' must be one of stretch, letterbox"),
        (lambda d: d["input"]["resize"].update(pad_value=300), "'input.resize.pad_value' must be in 0 .. 255"),
        (lambda d: d["input"]["resize"].update(crop_ratio=0), r"'input.resize.crop_ratio' must be in 0.01 .. 1, got 0"),
        (lambda d: d["input"]["tensor"].update(dtype="float32"), "must be uint8 on a grid"),
        (lambda d: d["input"]["tensor"].update(shape=[1, -1, 2, 3]), "every dimension must be a positive integer"),
        (lambda d: d["input"]["tensor"]["quant"].update(scale=[0]), "'input.tensor.quant.scale'.*finite and positive"),
        (lambda d: d["outputs"][0].update(layout="NHWC"), "output 'logits': 'layout' must be 2 capital letters"),
        (lambda d: d["outputs"][0].update(meaning="x"), r"'outputs\[0\].meaning' must be one of logits"),
        (lambda d: d["outputs"][0].update(spare=1), r"unknown field 'outputs\[0\].spare'"),
        (lambda d: d["engines"][0].update(name="os.system"), "bad engine name 'os.system'"),
        (lambda d: d["engines"][0].update(settings={"a": []}), r"'engines\[0\].settings' must be an object of plain"),
        (lambda d: d["engines"][0].update(equivalent={}), r"the field 'engines\[0\].equivalent.why' is missing"),
        (lambda d: d["engines"][0].update(equivalent=NO_LIMITS), "'engines': limits must say why, have shares"),
        (lambda d: d["thresholds"].update(other=1.0), r"'thresholds' names \['other'\], which 'labels' does not have"),
        (lambda d: d["files"]["graph.npz"].update(sha256="x"), "'files.graph.npz.sha256' must be 64 hexadecimal"),
        (lambda d: d["files"]["graph.npz"].update(size=-1), "'files.graph.npz.size' must be in 0"),
        (lambda d: d["files"].pop("golden.npz"), "'files' does not list 'golden.npz'"),
        (lambda d: d["files"].update({"../x": d["files"]["graph.npz"]}), "'../x' is no plain relative path"),
        (lambda d: d["provenance"].update(mean=["a"]), "'provenance.mean' must be a finite number"),
        (lambda d: d.update(labels="good"), "'labels' must be a list, got 'good'"),
    ],
)
def test_a_wrong_field_is_named(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Manifest.loads(edited(change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": NaN}', "[" * 100_000])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="manifest: "):
        Manifest.loads(text)


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        manifest(thresholds={"good": float("nan")}).dumps()


@pytest.mark.parametrize("name", ["a", "model.onnx", "coral/model.tflite", "a b.txt", "ä.txt"])
def test_plain_file_names(name: str) -> None:
    check_file_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../b", "/etc/passwd", "a//b", "./a", "a/", "C:\\x", "a\\b", "a\0b", "manifest.json"],
)
def test_file_names_that_could_reach_outside(name: str) -> None:
    with pytest.raises(BundleError, match="bundle: "):
        check_file_name(name)


def test_the_health_file_is_optional_and_old_manifests_know_nothing_of_it() -> None:
    entry = FileEntry("a" * 64, 10)
    whole = manifest(health="health.npz", files=FILES | {"health.npz": entry})
    assert Manifest.loads(whole.dumps()) == whole
    assert "health.npz" in whole.needed_files()
    with pytest.raises(BundleError, match=r"does not list 'health.npz'"):
        manifest(health="health.npz")
    document = json.loads(manifest().dumps())
    del document["health"], document["seal"]
    text = json.dumps(document | {"seal": _seal(document)})
    assert Manifest.loads(text) == manifest()
    with pytest.raises(BundleError, match="'health' must be a string"):
        Manifest.loads(edited(lambda changed: changed.update(health=3)))


def test_manifests_from_before_tiles_know_nothing_of_their_overlap() -> None:
    tiled = manifest(input=InputContract(FRAME, "bgr", Resize("tile", overlap=48)))
    assert Manifest.loads(tiled.dumps()) == tiled
    document = json.loads(manifest().dumps())
    del document["input"]["resize"]["overlap"], document["seal"]
    assert Manifest.loads(json.dumps(document | {"seal": _seal(document)})) == manifest()
    with pytest.raises(BundleError, match=r"'input\.resize\.overlap' must be"):
        Resize("tile", overlap=-1)


def test_the_score_that_rejects() -> None:
    own = manifest()
    assert (own.threshold, own.threshold_of("good"), own.threshold_of(None)) == (0.25, 0.25, 0.25)
    one = manifest(thresholds={}, decoding={"threshold": 0.75})
    assert (one.threshold, one.threshold_of("good")) == (0.75, 0.75)
    several = manifest(labels=("good", "a", "b"), thresholds={"a": 0.1, "b": 0.2})
    assert (several.threshold, several.threshold_of("b"), several.threshold_of("good")) == (None, 0.2, None)
    assert manifest(thresholds={}).threshold is None
    with pytest.raises(BundleError, match=r"'decoding\.threshold' must be a number, got 'high'"):
        manifest(decoding={"threshold": "high"})
