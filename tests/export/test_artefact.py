"""Writing a graph for each engine and opening it without a bundle."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgecnn.errors import UnsupportedError
from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import engines
from edgecnn.runtime.engines.reference import run_graph
from tests.ops.single import convolution, single, uint8

PACKAGES = {"litert": "ai_edge_litert", "onnxruntime": "onnxruntime", "openvino": "openvino", "reference": "numpy"}


def need(engine: str) -> None:
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        pytest.skip(f"{engine} is not installed")


def small_graph() -> IntegerGraph:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    bias = rng.integers(-3000, 3000, 4).astype(np.int32)
    steps = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1}
    x, y = uint8("x", (1, 3, 6, 6), 0.02, 0), uint8("y", (1, 4, 6, 6), 0.31, 120)
    return convolution("Conv", x, weight, bias, [0.01, 0.02, 0.03, 0.04], y, **steps)


def test_there_is_a_format_for_every_engine():
    assert sorted(artefact.FORMATS) == engines.names()


@pytest.mark.parametrize("engine", artefact.FORMATS)
def test_the_first_file_is_the_one_the_engine_loads(engine, tmp_path):
    need(engine)
    graph = small_graph()
    files = artefact.write(engine, graph, tmp_path)
    assert files[0] == tmp_path / artefact.FORMATS[engine][1]
    assert sorted(files) == sorted(tmp_path.iterdir())
    specs = [[graph.spec(name) for name in names] for names in (graph.inputs, graph.outputs)]
    with engines.load(engine, files[0], *specs) as loaded:
        assert (list(loaded.inputs), list(loaded.outputs)) == tuple(specs)


@pytest.mark.parametrize("engine", artefact.FORMATS)
def test_every_engine_gives_the_references_integers(engine):
    need(engine)
    graph = small_graph()
    x = np.random.default_rng(1).integers(0, 256, (1, 3, 6, 6), dtype=np.uint8)
    with artefact.opened(engine, graph) as loaded:
        got = loaded.run([x])[0]
    assert np.abs(got.astype(int) - run_graph(graph, [x])["y"]).max() <= 1


@pytest.mark.parametrize("engine", ["litert", "onnxruntime", "openvino"])
def test_the_same_grids_are_read_back_from_every_format(engine, tmp_path):
    need(engine)
    graph = small_graph()
    path = artefact.write(engine, graph, tmp_path)[0]
    found = artefact.read_grids(engine, path)
    assert found["y"] == graph.spec("y").quant
    assert found["x"] == graph.spec("x").quant


@pytest.mark.parametrize("engine", artefact.FORMATS)
def test_nothing_is_left_behind(engine, tmp_path, monkeypatch):
    need(engine)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with artefact.opened(engine, small_graph()):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_lowered_is_refused_before_anything_is_written(tmp_path):
    need("litert")
    x, y = uint8("x", (1, 2, 5, 5)), uint8("y", (1, 2, 7, 7))
    graph = single("Resize", (x,), y, sizes=(7, 7), mode="nearest", coordinates="half_pixel", rounding="ceil")
    with pytest.raises(UnsupportedError, match="Resize 'resize'") as caught:
        artefact.write("litert", graph, tmp_path)
    assert len(caught.value.refusals) == 1
    assert list(tmp_path.iterdir()) == []


def test_files_are_the_same_every_time(tmp_path: Path):
    for engine in artefact.FORMATS:
        need(engine)
        contents = []
        for run in ("first", "second"):
            folder = tmp_path / engine / run
            folder.mkdir(parents=True)
            contents.append([path.read_bytes() for path in artefact.write(engine, small_graph(), folder)])
        assert contents[0] == contents[1], engine
