from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch

from edgecnn.arrays import write_npz
from edgecnn.cli import app
from edgecnn.graph import import_torch
from edgecnn.report.document import dumps
from edgecnn.runtime.bundle import write_bundle
from tests.report.documents import layers_measured
from tests.report.networks import block, convnet, head
from tests.runtime.conftest import tiny_golden, tiny_graph, tiny_manifest

WIDE = ("--mean", "0.5", "--std", "0.5")


def exported(module: torch.nn.Module, path: Path, *shape: int) -> Path:
    ir.save(import_torch(module, (1, *shape)), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(convnet(), tmp_path_factory.mktemp("models") / "digits.onnx", 1, 28, 28)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    graph = tiny_graph()
    names = ("model.onnx", "graph.npz", "golden.npz")
    paths = {name: tmp_path / f"written-{name}" for name in names}
    paths["model.onnx"].write_bytes(b"not read here")
    graph.save(paths["graph.npz"])
    write_npz(paths["golden.npz"], tiny_golden(graph).arrays())
    write_bundle(tmp_path / "tiny", tiny_manifest(graph), dict(paths))
    return tmp_path / "tiny"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = app.main(["inspect", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_a_model_in_words(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(capsys, str(model), "--target", "rpi", "--target", "coral", *WIDE)

    assert code == 0
    assert "digits: layers" in out
    assert "input 1x28x28x1, 128,266 parameters, 7,486,464 multiply-accumulates" in out
    assert "Pitfalls: none found" in out
    assert "Target rpi (onnxruntime): every node can be lowered (judged with made-up ranges)" in out
    assert "Edge TPU pre-flight: All" in out
    assert "3 batch norm(s) fold into their neighbours." in err
    assert "scale" not in out


def test_a_model_in_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, str(model), "--target", "rpi", *WIDE)

    assert (document["model"], document["parameters"], document["quantised"]) == ("digits", 128_266, False)
    assert [row["macs"] for row in document["layers"] if row["op"] == "Conv"] == [225_792, 3_612_672, 3_612_672]
    assert [(item["target"], item["lowers"]) for item in document["targets"]] == [("rpi", True)]


def test_what_a_file_does_not_say_is_a_hint(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hints = run_json(capsys, str(model), "--target", "rpi")["pitfalls"]
    known = run_json(capsys, str(model), "--target", "rpi", "--mean", "0")["pitfalls"]

    assert [(item["rule"], item["severity"]) for item in hints] == [("raw_input", "hint")]
    assert [(item["rule"], item["severity"]) for item in known] == [("raw_input", "warning")]


def test_the_size_of_the_object_is_heard(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rules(*arguments: str) -> list[str]:
        found = run_json(capsys, str(model), "--target", "rpi", *WIDE, *arguments)["pitfalls"]
        return [item["rule"] for item in found]

    assert rules("--object-size", "18") == []
    assert rules("--object-size", "18,20") == ["receptive_field"]


def test_pitfalls_name_layers_and_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = [block(3, 8, 7), *(block(8, 8, 3, padding=0) for _ in range(3)), torch.nn.MaxPool2d(4), head(8)]
    path = exported(torch.nn.Sequential(*layers), tmp_path / "bad.onnx", 3, 32, 32)
    _, out, _ = run(capsys, str(path), "--target", "rpi", *WIDE)

    assert "warning large_kernels: 1 convolution(s) have kernels larger than 3x3" in out
    assert "in '/0/0.0/Conv'" in out
    assert "warning missing_padding: 3 convolutions" in out
    assert "warning coarse_pooling: '/4/MaxPool' steps 4x4" in out


def test_refused_nodes_are_told_all_at_once_and_the_layers_still_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(torch.erf(x))

    path = exported(torch.nn.Sequential(block(3, 8), Odd(), head(8)), tmp_path / "odd.onnx", 3, 32, 32)
    code, out, _ = run(capsys, str(path), "--target", "coral")

    assert code == 0
    assert "Target coral (litert): cannot be lowered" in out
    assert "Erf '/1/Erf'" in out
    assert "Sin '/1/Sin'" in out
    assert "odd: layers" in out


def test_a_saved_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.export.save(torch.export.export(convnet().eval(), (torch.zeros(1, 1, 28, 28),)), tmp_path / "digits.pt2")
    document = run_json(capsys, str(tmp_path / "digits.pt2"), "--target", "rpi", *WIDE)

    assert (document["parameters"], document["pitfalls"]) == (128_266, [])


def test_a_state_dict_with_its_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(convnet().state_dict(), tmp_path / "digits.pth")
    arch = Path(__file__).parent.parent / "report" / "networks.py"
    arguments = ("--arch", f"{arch}:convnet", "--input-shape", "1,1,28,28", "--target", "rpi", *WIDE)

    assert run_json(capsys, str(tmp_path / "digits.pth"), *arguments)["parameters"] == 128_266


def test_a_bundle_shows_its_grids(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, str(bundle))

    assert code == 0
    assert "0.09" in out
    assert "120" in out
    assert "-10.8 .. 12.15" in out
    assert "not judged no_batch_norm: in an integer graph every batch norm is folded" in out
    assert "Target rpi (onnxruntime): every node can be lowered\n" in out


def reported(folder: Path, report: bytes) -> Path:
    """Write a bundle that holds ``report`` as its report.json."""
    graph = tiny_graph()
    contents: dict[str, Path | bytes] = {"model.onnx": b"not read here", "report.json": report}
    for name, save in (
        ("graph.npz", graph.save),
        ("golden.npz", lambda path: write_npz(path, tiny_golden(graph).arrays())),
    ):
        save(folder / f"written-{name}")
        contents[name] = folder / f"written-{name}"
    write_bundle(folder / "reported", tiny_manifest(graph), contents)
    return folder / "reported"


def test_a_bundle_names_the_layers_that_make_the_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = str(reported(tmp_path, dumps(layers_measured()).encode()))
    code, out, _ = run(capsys, path)

    assert code == 0
    table = out[out.index("Where most of the noise comes from") :].splitlines()
    assert table[2].split() == ["dw1", "depthwise", "convolution", "weights", "37.0%", "24.3", "dB"]
    assert [line.split()[0] for line in table[2:5]] == ["dw1", "sum", "dw2"]
    assert [item["share"] for item in run_json(capsys, path)["noise"]] == [0.37, 0.3, 0.15]


def test_a_bundle_with_a_report_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, str(reported(tmp_path, b'{"schema": 7}')))

    assert code == 0
    assert "Where most" not in out
    assert "Which layers make the noise cannot be read: report: 'schema' must be 1, got 7" in err


def test_names_cannot_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = import_torch(block(3, 8), (1, 3, 16, 16))
    hostile.graph[0].name = "\x1b[2Jcleared [bold]"
    ir.save(hostile, tmp_path / "hostile.onnx")
    code, out, _ = run(capsys, str(tmp_path / "hostile.onnx"), "--target", "rpi")

    assert code == 0
    assert "\x1b" not in out
    assert "\N{REPLACEMENT CHARACTER}[2Jcleared" in out


@pytest.mark.parametrize("name", ["convnet", "resnet18", "mobilenetv2", "unet-lite"])
def test_the_built_in_models_have_no_pitfalls(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, name, "--target", "rpi")

    assert document["pitfalls"] == []
    assert document["targets"][0]["lowers"]


def test_a_bundle_in_a_zip(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", bundle)

    assert run_json(capsys, packed)["layers"] == run_json(capsys, str(bundle))["layers"]


def test_a_bundle_is_judged_for_another_target(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, str(bundle), "--target", "coral")

    assert document["quantised"] is True
    assert [item["target"] for item in document["targets"]] == ["coral"]
    assert [row["op"] for row in document["targets"][0]["edge_tpu"]] == ["Transpose", "Conv", "ReduceMean"]
    assert document["layers"][1]["zero_point"] == 120


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nothing-here",), 2, "nothing-here"),
        (("nothing.onnx",), 3, "nothing.onnx"),
        (("--target", "raspi"), 2, "unknown target 'raspi'"),
        (("--object-size", "1,2,3"), 2, "one number, or rows,columns; got '1,2,3'"),
        (("--object-size", "0"), 2, "whole numbers from 1 on"),
        (("--mean", "grey"), 2, "--mean takes numbers separated by commas; got 'grey'"),
        (("--input-shape", ""), 2, "--input-shape takes numbers separated by commas"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, _, err = run(capsys, *arguments)

    assert found == code
    assert message in err


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, str(tmp_path))[0] == 5


@pytest.mark.data
def test_a_real_detector(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, str(data_dir / "models" / "nanodet-320.onnx"), "--target", "coral", "--target", "rpi")

    assert document["parameters"] == 941_818
    assert document["macs"] == 342_223_200
    assert [item["severity"] for item in document["pitfalls"]] == ["hint", "hint"]
    assert [item["lowers"] for item in document["targets"]] == [True, True]
