"""Older bundles, whose weights are not exact on every processor, are run exactly or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.arrays import write_npz
from edgecnn.cli import app
from edgecnn.errors import EngineError
from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import EngineEntry
from edgecnn.runtime import engines, processor
from edgecnn.runtime.bundle import Content, write_bundle
from edgecnn.runtime.engines import onnxruntime as onnxruntime_engine
from tests.runtime.conftest import tiny_golden, tiny_manifest

MakeOlder = Callable[[str], Path]
X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 {}\n"


def wide(graph: IntegerGraph) -> IntegerGraph:
    """Return ``graph`` with weights as older versions of edgecnn wrote them: pairs of any size."""
    return graph.with_constant("weight", np.full(graph.spec("weight").shape, 120, np.int8))


@pytest.fixture
def make_older(graph: IntegerGraph, tmp_path: Path) -> MakeOlder:
    def make(engine: str) -> Path:
        old = wide(graph)
        golden = tiny_golden(old)
        (tmp_path / "files").mkdir()
        paths = artefact.write(engine, old, tmp_path / "files")
        entry = EngineEntry(engine, "any", tuple(path.name for path in paths))
        old.save(tmp_path / "graph.npz")
        write_npz(tmp_path / "golden.npz", golden.arrays())
        contents: dict[str, Content] = {path.name: path for path in (*paths, *tmp_path.glob("*.npz"))}
        write_bundle(tmp_path / "older", replace(tiny_manifest(old), engines=(entry,)), contents)
        return tmp_path / "older"

    return make


@pytest.fixture
def without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(X86.format(""))
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.fixture
def with_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(X86.format("avx_vnni"))
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.usefixtures("without_vnni")
def test_what_is_wide(graph: IntegerGraph) -> None:
    assert engines.wide_pairs(lambda: wide(graph))
    assert not engines.wide_pairs(lambda: graph)


@pytest.mark.usefixtures("with_vnni")
def test_where_nothing_saturates_the_graph_is_not_even_read() -> None:
    assert not engines.wide_pairs(lambda: pytest.fail("the graph was read"))


@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "reference"])
@pytest.mark.usefixtures("without_vnni")
def test_engines_that_can_run_it_exactly_do(make_older: MakeOlder, engine: str) -> None:
    """On whatever processor this runs: told that it saturates, ONNX Runtime keeps products exact."""
    bundle = make_older(engine if engine != "reference" else "onnxruntime")
    with edgecnn.load(bundle, engine=engine) as model:
        assert model.engine_name == engine


@pytest.mark.parametrize(("cpu", "wanted"), [("without_vnni", True), ("with_vnni", False)])
def test_onnx_runtime_takes_the_exact_option_only_where_it_must(
    make_older: MakeOlder, cpu: str, wanted: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue(cpu)
    told: list[bool] = []
    options = onnxruntime_engine._options
    monkeypatch.setattr(
        onnxruntime_engine,
        "_options",
        lambda package, threads, wide_pairs: told.append(wide_pairs) or options(package, threads, wide_pairs),
    )
    edgecnn.load(make_older("onnxruntime"), self_test="off").close()
    assert told == [wanted]


@pytest.mark.usefixtures("without_vnni")
def test_openvino_refuses_with_the_reason(make_older: MakeOlder, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = make_older("openvino")
    with pytest.raises(EngineError, match="would compute wrong results on this processor: it has no VNNI"):
        edgecnn.load(bundle)
    assert app.main(["verify", str(bundle), "--engine", "openvino"]) != 0
    assert "Export the model again" in " ".join(capfd.readouterr().err.split())


@pytest.mark.usefixtures("with_vnni")
def test_openvino_runs_it_where_nothing_saturates(make_older: MakeOlder) -> None:
    edgecnn.load(make_older("openvino"), self_test="off").close()
