from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import BundleError, EngineError, MissingEngineError, OptionError
from edgecnn.integer_graph import Array, IntegerGraph, IntegerNode
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, SKIPPED
from edgecnn.runtime import verify
from edgecnn.runtime.bundle import Bundle, Golden
from edgecnn.runtime.compare import Judgement
from edgecnn.runtime.engines.reference import run_node
from edgecnn.runtime.verify import EngineReport, Verification, verify_engines, verify_grids, verify_ops
from edgecnn.tensor import QuantParams

MakeBundle = Callable[..., Path]


def grids_of(graph: IntegerGraph) -> dict[str, QuantParams]:
    return {name: spec.quant for name, spec in graph.tensors.items() if spec.quant is not None}


def test_engines_repeat_the_golden_outputs(make_bundle: MakeBundle) -> None:
    with Bundle.open(make_bundle()) as bundle:
        own, reference = verify_engines(bundle)
    assert (own.engine, own.target, own.status, own.reason) == ("onnxruntime", "rpi", EXACT, "")
    assert (own.outputs[0].equal, own.outputs[0].max_lsb) == (1.0, 0)
    assert own.judgements == (Judgement("logits", "top-1", 1.0),)
    assert own.milliseconds is not None
    assert (reference.engine, reference.status) == ("reference", EXACT)


def test_one_engine_is_proven_beside_the_reference(make_bundle: MakeBundle) -> None:
    with Bundle.open(make_bundle()) as bundle:
        assert [report.engine for report in verify_engines(bundle, "onnxruntime")] == ["onnxruntime", "reference"]
        assert [report.engine for report in verify_engines(bundle, "reference")] == ["reference"]


def test_an_engine_that_is_not_installed(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with Bundle.open(make_bundle()) as bundle:
        with pytest.raises(MissingEngineError, match=r"pip install 'edgecnn\[rpi\]'"):
            list(verify_engines(bundle, "onnxruntime"))
        with pytest.raises(MissingEngineError, match="no engine of this bundle is installed, so nothing was proven"):
            list(verify_engines(bundle))
        assert [report.status for report in verify_engines(bundle, "reference")] == [EXACT]
        with pytest.raises(OptionError, match=r"Known: onnxruntime, reference"):
            list(verify_engines(bundle, "openvino"))


def test_a_model_file_that_does_not_load_is_a_failure(make_bundle: MakeBundle) -> None:
    with Bundle.open(make_bundle(model__onnx=b"")) as bundle:
        own, reference = verify_engines(bundle)
    assert own.status == FAILED
    assert "cannot load it" in own.reason
    assert reference.status == EXACT


def test_a_model_file_that_is_none_is_worth_no_word_of_the_proof(make_bundle: MakeBundle) -> None:
    with (
        Bundle.open(make_bundle(model__onnx=b"no model")) as bundle,
        pytest.raises(BundleError, match="it is no ONNX file, or damaged"),
    ):
        list(verify_engines(bundle))


def test_grids(make_bundle: MakeBundle, graph: IntegerGraph) -> None:
    grids = grids_of(graph)

    def missing(engine: str, path: Path) -> dict[str, QuantParams]:
        raise ImportError("No module named 'onnx'")

    with Bundle.open(make_bundle()) as bundle:
        (same,) = verify_grids(bundle, lambda engine, path: grids, bundle.engines)
        changed = grids | {"maps": QuantParams.per_tensor(0.09, 121)}
        (other,) = verify_grids(bundle, lambda engine, path: changed, bundle.engines)
        (lost,) = verify_grids(bundle, lambda engine, path: {"frame": grids["frame"]}, bundle.engines)
        (unread,) = verify_grids(bundle, missing, bundle.engines)
    assert (same.file, same.status, same.checked) == ("model.onnx", EXACT, 6)
    assert other.status == FAILED
    assert other.reason.startswith("1 grid(s) differ, first 'maps': expected QuantParams(scale=(0.09")
    assert (lost.status, lost.reason) == (FAILED, "2 activation(s) have no grid, first 'maps'")
    assert unread.status == SKIPPED
    assert unread.reason.startswith("not checked: needs edgecnn[export]")


def test_a_scale_off_by_one_bit_is_another_grid(graph: IntegerGraph) -> None:
    grids = grids_of(graph)
    next_scale = float(np.nextafter(np.float32(0.05), np.float32(1)))
    report = verify.compare_grids("x", graph, grids | {"logits": QuantParams.per_tensor(next_scale, 128)})
    assert report.status == FAILED


def test_constants_may_be_laid_out_in_another_order(graph: IntegerGraph) -> None:
    grids = grids_of(graph)
    turned = QuantParams(tuple(reversed(grids["weight"].scale)), 0, 3)
    assert verify.compare_grids("x", graph, grids | {"weight": turned}).status == EXACT


def exact(engine: str, graph: IntegerGraph, inputs: Sequence[Array]) -> Array:
    return run_node(graph, graph.nodes[0], dict(zip(graph.inputs, inputs, strict=True)))


def test_every_operator_alone(graph: IntegerGraph, golden: Golden) -> None:
    reports = list(verify_ops(graph, golden.frames[:1], ["a", "b"], exact))
    assert [(report.engine, report.op) for report in reports] == [
        (engine, op) for op in ("Transpose", "Conv", "ReduceMean") for engine in ("a", "b")
    ]
    assert all((report.status, report.max_lsb, report.off) == (EXACT, 0, 0.0) for report in reports)


def test_the_first_operator_that_diverges_is_named(graph: IntegerGraph, golden: Golden) -> None:
    def off(engine: str, single: IntegerGraph, inputs: Sequence[Array]) -> Array:
        steps = {"Transpose": 0, "Conv": 2, "ReduceMean": 3}[single.nodes[0].op]
        return (exact(engine, single, inputs).astype(np.int64) ^ steps).astype(np.uint8)

    found = Verification((), ops=tuple(verify_ops(graph, golden.frames[:1], ["a"], off)))
    first = found.first_diverging()["a"]
    assert (first.node, first.op, first.max_lsb, first.off) == ("conv", "Conv", 2, 1.0)
    assert found.status == FAILED
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["first_diverging_op"]["a"]["node"] == "conv"


def off_by_one(engine: str, single: IntegerGraph, inputs: Sequence[Array]) -> Array:
    return exact(engine, single, inputs).astype(np.uint8) ^ np.uint8(1)


def test_an_operator_that_is_one_step_off_fails(graph: IntegerGraph, golden: Golden) -> None:
    reports = verify_ops(graph, golden.frames[:1], ["onnxruntime", "openvino", "litert"], off_by_one)
    assert {(report.status, report.max_lsb) for report in reports} == {(FAILED, 1)}


def test_one_that_cannot_be_exact_may_be_one_step_off_and_no_more() -> None:
    node, values = IntegerNode("up", "Resize", ("x",), "y", {"mode": "linear"}), np.full((1, 2), 7, np.uint8)
    found = [verify._op_report("litert", node, values, values + np.uint8(off)) for off in range(3)]
    assert [(report.status, report.max_lsb) for report in found] == [(EXACT, 0), (EQUIVALENT, 1), (FAILED, 2)]
    assert found[1].reason == "XNNPACK weights the pixels of a bilinear Resize with 11 bits."
    assert verify._op_report("openvino", node, values, values + np.uint8(1)).status == FAILED
    nearest = replace(node, attributes={"mode": "nearest"})
    assert verify._op_report("litert", nearest, values, values + np.uint8(1)).status == FAILED
    own = EngineReport("litert", "coral", EXACT)
    assert [Verification((own,), ops=(item,)).status for item in found] == [EXACT, EXACT, FAILED]


def test_operators_that_fail_or_have_no_engine(graph: IntegerGraph, golden: Golden) -> None:
    def run(engine: str, single: IntegerGraph, inputs: Sequence[Array]) -> Array:
        if engine == "absent":
            raise MissingEngineError("not installed")
        if single.nodes[0].op == "Conv":
            raise EngineError("out of memory")
        return exact(engine, single, inputs)[..., :1]

    reports = list(verify_ops(graph, golden.frames[:1], ["absent", "a"], run))
    assert [(report.engine, report.status) for report in reports] == [
        ("absent", SKIPPED),
        ("a", FAILED),
        ("a", FAILED),
        ("a", FAILED),
    ]
    assert "expected shape (1, 3, 8, 8), got (1, 3, 8, 1)" in reports[1].reason
    assert reports[2].reason == "out of memory"


def test_real_single_operators(graph: IntegerGraph, golden: Golden) -> None:
    artefact = pytest.importorskip("edgecnn.export.artefact", reason="needs edgecnn[export]")

    def run(engine: str, single: IntegerGraph, inputs: Sequence[Array]) -> Array:
        with artefact.opened(engine, single) as opened:
            output: Array = opened.run(inputs)[0]
            return output

    reports = list(verify_ops(graph, golden.frames[:1], ["onnxruntime"], run))
    assert [report.status for report in reports] == [EXACT] * 3


def test_the_worst_word_is_that_of_all(make_bundle: MakeBundle) -> None:
    words = {EXACT: EXACT, EQUIVALENT: EQUIVALENT, FAILED: FAILED, SKIPPED: EXACT}
    for word, wanted in words.items():
        reports = tuple(EngineReport("x", "rpi", status) for status in (EXACT, word, SKIPPED))
        assert Verification(reports).status == wanted
    assert Verification((EngineReport("x", "rpi", EXACT),), (verify.GridReport("m", FAILED),)).status == FAILED
    assert Verification((EngineReport("x", "rpi", EXACT),), (verify.GridReport("m", SKIPPED),)).status == EXACT
    assert Verification(()).status == SKIPPED
    assert Verification((), processor="aarch64").as_json()["processor"] == "aarch64"
