"""A bundle is opened and run once more before it is called done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from edgecnn.cli import app
from edgecnn.composer import Request, build, open_model, stages
from edgecnn.errors import BundleError
from edgecnn.integer_graph import Array, IntegerGraph
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.engines import litert
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files
from tests.composer.onnx_files import node

FRAMES = np.random.default_rng(5).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


def export(model: Path, output: Path) -> Path:
    source = open_model(str(model))
    build(Request(source, source.expects, ("coral",), Frames(FRAMES), "fast"), output)
    return output


@pytest.mark.parametrize("op", ["Div", "Mul", "Add", "Sub", "PRelu"])
def test_constants_without_axes_export_and_verify(op: str, tmp_path: Path) -> None:
    body = [node("Reshape", "conv flat", "rows"), node("Sigmoid", "rows", "p"), node(op, "p two", "logits")]
    constants = [
        numpy_helper.from_array(np.asarray([1, 4, 256]), "flat"),
        numpy_helper.from_array(np.asarray(2, np.float32), "two"),
    ]
    model = onnx_files.write(tmp_path / "net.onnx", body, output=(1, 4, 256), constants=constants)
    assert app.main(["verify", str(export(model, tmp_path / "bundle")), "--engine", "litert"]) == 0
    assert app.main(["verify", str(tmp_path / "bundle"), "--engine", "reference"]) == 0


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_a_graph_that_changes_on_the_disk_is_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = IntegerGraph.save

    def save_another(graph: IntegerGraph, path: Path) -> None:
        changed = {key: array // 2 for key, array in graph.constants.items()}
        save(replace(graph, constants=changed), path)

    monkeypatch.setattr(IntegerGraph, "save", save_another)
    model = onnx_files.write(tmp_path / "net.onnx")
    with pytest.raises(BundleError, match=r"reference is \d+ steps off the golden outputs when it runs graph\.npz"):
        export(model, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_an_old_bundle_stays_where_the_new_one_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx_files.write(tmp_path / "net.onnx")
    export(model, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    monkeypatch.setattr(stages, "write_npz", lambda path, arrays: path.write_bytes(b"no archive"))
    source = open_model(str(model))
    with pytest.raises(BundleError, match=r"golden\.npz: not a readable \.npz"):
        build(Request(source, source.expects, ("coral",), Frames(FRAMES), "fast", overwrite=True), tmp_path / "bundle")
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == before


def test_an_engine_that_gives_something_else_from_the_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bundle.open(export(onnx_files.write(tmp_path / "net.onnx"), tmp_path / "first")) as bundle:
        file = bundle.engines[0].files[0]
    load = litert.load

    def load_turned(path: Path, *arguments: object, **options: object) -> object:
        engine = load(path, *arguments, **options)  # type: ignore[arg-type]
        if path.parent.name == "bundle":
            run = engine.run
            engine.run = lambda arrays: [_inverted(array) for array in run(arrays)]  # type: ignore[method-assign]
        return engine

    monkeypatch.setattr(litert, "load", load_turned)
    with pytest.raises(
        BundleError, match=rf"litert is \d+ steps off .* when it runs {file} as written; before .* 0 off"
    ):
        export(tmp_path / "net.onnx", tmp_path / "second")
    assert not (tmp_path / "second").exists()


def _inverted(array: Array) -> Array:
    return 255 - array
