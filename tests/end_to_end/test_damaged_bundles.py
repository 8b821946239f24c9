"""Bundles that were damaged, edited, or made by an enemy: every command refuses them before anything is used."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.cli import app
from edgecnn.errors import BundleError

Edit = Callable[[Path], None]


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def flip_a_bit(folder: Path) -> None:
    path = folder / "model.tflite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut_off(folder: Path) -> None:
    path = folder / "model.bin"
    path.write_bytes(path.read_bytes()[:-100])


def lose(folder: Path) -> None:
    (folder / "graph.npz").unlink()


def point_elsewhere(folder: Path) -> None:
    (folder / "golden.npz").rename(folder.parent / "golden.npz")
    (folder / "golden.npz").symlink_to(folder.parent / "golden.npz")


def edit_the_labels(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"rising"', '"falling too"'))


def edit_and_seal_the_files_anew(folder: Path) -> None:
    """Replace golden frames and their digest in the manifest: the manifest's own seal tells."""
    from edgecnn.runtime.bundle import digest_of

    with np.load(folder / "golden.npz") as stored:
        np.savez(folder / "golden.npz", **{key: np.zeros_like(value) for key, value in stored.items()})
    document = json.loads((folder / "manifest.json").read_text())
    entry = digest_of(folder / "golden.npz")
    document["files"]["golden.npz"] = {"sha256": entry.sha256, "size": entry.size}
    (folder / "manifest.json").write_text(json.dumps(document))


def point_outside(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"model.onnx"', '"../model.onnx"'))


def come_from_the_future(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))


@pytest.mark.parametrize("command", ["verify", "bench", "inspect"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (flip_a_bit, "'model.tflite' is not what the manifest says"),
        (cut_off, "'model.bin' has"),
        (lose, "'graph.npz' is missing"),
        (point_elsewhere, "'golden.npz' must be a regular file"),
        (edit_the_labels, "edited after the bundle was written"),
        (edit_and_seal_the_files_anew, "edited after the bundle was written"),
        (point_outside, "no plain relative path inside the bundle"),
        (come_from_the_future, "Update edgecnn"),
    ],
)
def test_damage_is_named(copy: Path, command: str, edit: Edit, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    edit(copy)
    assert app.main([command, str(copy)]) == 5
    printed = capfd.readouterr()
    assert printed.err.startswith("error: ")
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    with pytest.raises(BundleError, match=says):
        edgecnn.load(copy)


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/edgecnn-evil.txt", "a/../../evil.txt"])
def test_a_zip_that_reaches_outside_writes_nothing(
    copy: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for item in copy.iterdir():
            archive.write(item, item.name)
        archive.writestr(name, "evil")
    assert app.main(["verify", str(path)]) == 5
    assert "no plain relative path inside the bundle" in capfd.readouterr().err
    assert [found for found in tmp_path.rglob("*evil*") if found != path] == []
    assert not Path("/tmp/edgecnn-evil.txt").exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_is_no_bundle_at_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.zip").write_bytes(b"\xff\xd8\xff no zip")
    (tmp_path / "folder").mkdir()
    expected = {"photo.zip": "not a readable .zip", "folder": "'manifest.json' is missing", "none": "no such bundle"}
    for name, says in expected.items():
        assert app.main(["verify", str(tmp_path / name)]) == 5
        assert says in capfd.readouterr().err


def test_a_wrong_model_behind_right_digests_fails_the_proof(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A builder that mixes up two artefacts seals what it wrote; the golden frames tell all the same."""
    from dataclasses import replace

    from edgecnn.export import artefact
    from edgecnn.integer_graph import IntegerGraph
    from edgecnn.runtime.bundle import Bundle, write_bundle

    graph = IntegerGraph.load(bundle / "graph.npz")
    (head,) = [node for node in graph.nodes if node.op == "Gemm"]
    turned = {name: np.ascontiguousarray(graph.constants[name][::-1]) for name in head.inputs[1:]}
    artefact.write("onnxruntime", replace(graph, constants=graph.constants | turned), tmp_path)
    with Bundle.open(bundle) as opened:
        files = {name: opened.path_of(name) for name in opened.manifest.files}
        write_bundle(tmp_path / "mixed", opened.manifest, files | {"model.onnx": tmp_path / "model.onnx"})
    assert app.main(["verify", str(tmp_path / "mixed"), "--threads", "1", "--json"]) == 1
    printed = capfd.readouterr()
    statuses = {item["engine"]: item["status"] for item in json.loads(printed.out)["engines"]}
    assert statuses == {"onnxruntime": "failed", "openvino": "exact", "litert": "exact", "reference": "exact"}
    assert "onnxruntime: output '" in printed.err
