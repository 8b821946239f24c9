"""The conformance table: one case of every second form, on the engines that are installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks import conformance, conformance_cases, conformance_export, conformance_onnx, conformance_runner

# XNNPACK's bilinear weights have 11 bits; any other form is exact everywhere.
COARSE = "Resize, linear"
FORMS = list(conformance_cases.FORMS)
SOME = [name for name in FORMS[::2] if not name.startswith(COARSE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some cases, exported."""
    root = tmp_path_factory.mktemp("conformance")
    for seed, name in enumerate(SOME):
        net = conformance_cases.Net(seed)
        model = net.model(conformance_cases.FORMS[name](net))
        graph, frames = conformance_export.exported(model, np.asarray([-2.0, 2.0]), np.random.default_rng(seed))
        conformance_export.write(root / f"case-{seed:02}", name, graph, frames)
    return root


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino", "litert"])
def test_exact_forms_are_equal_on_every_engine(folder: Path, runner: str, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    conformance_runner.run_all(runner, folder, results)
    found = conformance.count(conformance.read(results), conformance.forms(folder))
    assert found[""].cases == len(SOME)
    assert found[""].equal + found[""].refused == len(SOME)
    assert found[""].refused == 0 or runner == "litert"


def test_the_same_seed_gives_the_same_model() -> None:
    first, again = ([(name, model.SerializeToString()) for name, model in conformance_cases.drawn(9)] for _ in range(2))
    assert first == again


def test_a_case_of_onnx_keeps_one_input() -> None:
    x, w = np.ones((2, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in zip("xw", (x, w), strict=True)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4, 6, 6))
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "case", infos, [output])
    case = SimpleNamespace(model=helper.make_model(graph), data_sets=[([x, w], [])])
    ((model, values),) = conformance_onnx.ways(case)
    integers, frames = conformance_export.exported(model, values, np.random.default_rng(0))
    assert frames[0].shape == (1, 8, 8, 3)
    assert [node.op for node in integers.nodes].count("Conv") == 1


def test_a_process_that_ended_counts_as_failed() -> None:
    lines = {"a": {"case": "a", "failed": "the process ended"}, "b": {"largest": 2, "differ": 1, "values": 100}}
    total = conformance.count(lines, {"a": "Conv", "b": "Conv"})[""]
    assert total.cells() == [2, 0, 1, 0, 2, "1.00%"]


def test_tables_line_up() -> None:
    assert conformance.table(("a", "b"), [["long", 1]], False) == "a     b\nlong  1"
    assert conformance.table(("a", "b"), [["long", 1]], True) == "| a | b |\n| --- | --- |\n| long | 1 |"
