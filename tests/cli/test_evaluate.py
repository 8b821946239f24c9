"""``edgecnn evaluate``: the same report from a bundle alone, on any engine, for the same pictures."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import helper

from edgecnn.cli import app
from edgecnn.report import document
from edgecnn.runtime.bundle import Bundle, write_bundle
from tests.composer import onnx_files

LABELS = ("red", "green", "blue", "grey")
Evaluate = Callable[..., tuple[int, str, str]]


def photographs(folder: Path, count: int = 3, seed: int = 0) -> Path:
    """Fill ``folder`` with pictures in folders called like the labels."""
    rng = np.random.default_rng(seed)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / label / f"{index}.png"), rng.integers(0, 256, (16, 20, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_files.write(tmp_path_factory.mktemp("model") / "net.onnx", metadata={"labels": ",".join(LABELS)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, model: Path, data: Path) -> Path:
    """A bundle for two engines that was evaluated at the export."""
    return exported(tmp_path_factory.mktemp("bundle") / "net", model, data, "--eval", str(data))


def exported(folder: Path, model: Path, data: Path, *options: str) -> Path:
    line = ["export", str(model), "-t", "rpi", "-t", "intel", "--recipe", "fast", "--calibrate", str(data)]
    assert app.main([*line, *options, "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Return a function that evaluates and returns the exit code, stdout and stderr."""

    def run(bundle: Path, data: Path, *options: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.main(["evaluate", str(bundle), "--data", str(data), "--threads", "1", *options])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def found(result: tuple[int, str, str]) -> dict[str, Any]:
    assert result[0] == 0, result[2]
    document: dict[str, Any] = json.loads(result[1])
    return document


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "reference"])
def test_a_bundle_alone_gives_the_exports_report(evaluate: Evaluate, bundle: Path, data: Path, engine: str) -> None:
    section = found(evaluate(bundle, data, "--engine", engine, "--json"))
    recorded: dict[str, Any] = dict(document.read(bundle / "report.json")["decisions"])

    assert (section.pop("bundle"), section["engine"], section["source"]) == (str(bundle), engine, "bundle")
    own = ("engine", "source", "noise")
    assert {key: value for key, value in section.items() if key not in own} == {
        key: value for key, value in recorded.items() if key not in own
    }
    assert (section["compared"], section["labelled"], section["noise"]) == (12, 12, [])


def test_with_the_float_model_there_is_everything(evaluate: Evaluate, bundle: Path, data: Path, model: Path) -> None:
    section = found(evaluate(bundle, data, "--float", str(model), "--json"))
    recorded = document.read(bundle / "report.json")["decisions"]

    assert section["source"] == "model"
    assert section["pictures"] == recorded["pictures"]
    assert section["noise"] == recorded["noise"]
    assert section["remarks"] == recorded["remarks"]


def test_pictures_that_the_bundle_does_not_know(evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path) -> None:
    new = photographs(tmp_path / "new", count=1, seed=7)
    section = found(evaluate(bundle, new, "--json"))
    assert (section["compared"], section["labelled"], section["source"]) == (0, 4, "none")
    assert section["accuracy"]["float"] is None
    assert "INT8 is right on" in section["verdict"]

    # A known one among them: what counts is the file's content, not its name.
    shutil.copy(data / "red" / "0.png", new / "blue" / "known.png")
    section = found(evaluate(bundle, new, "--json"))
    assert (section["compared"], section["source"]) == (1, "bundle")
    assert section["paired"]["images"] == 1
    assert "known for 1 of 5 pictures" in section["remarks"][0]


def test_what_is_shown(evaluate: Evaluate, bundle: Path, data: Path) -> None:
    code, text, notes = evaluate(bundle, data)
    lines = text.splitlines()

    assert code == 0
    assert lines[0] == f"{bundle} on onnxruntime: 12 pictures"
    assert lines[1].startswith("Too few pictures to say whether INT8 is worse: 12 pictures with a label, at least 100")
    assert [line.split("  ")[0] for line in lines if line.startswith(("right", "drop", "same", "McN"))] == [
        "right, float",
        "right, INT8",
        "drop, in points",
        "McNemar's test, p",
        "same decision",
    ]
    assert "note:" not in text
    assert notes == ""


def test_a_page_of_the_evaluation(evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path) -> None:
    code, text, _ = evaluate(bundle, data, "-o", str(tmp_path / "page" / "of"))
    assert code == 0
    assert text.splitlines()[-1] == f"Report: {tmp_path / 'page' / 'of' / 'report.html'}"
    written = document.read(tmp_path / "page" / "of" / "report.json")
    assert written["decisions"]["images"] == 12
    assert "accuracy" not in written  # that of the export, perhaps of other pictures
    assert written["model"]["name"] == "net"
    page = (tmp_path / "page" / "of" / "report.html").read_text()
    assert "Too few pictures to say whether INT8 is worse" in page
    assert "no pictures were given with --eval" not in page


def test_a_bundle_without_what_float_decided(
    evaluate: Evaluate, model: Path, data: Path, bundle: Path, tmp_path: Path
) -> None:
    bare = exported(tmp_path / "bare", model, data)
    section = found(evaluate(bare, data, "--json"))
    assert (section["compared"], section["accuracy"]["images"]) == (0, 12)
    assert "name the source model (--float)" in section["verdict"]


def test_pictures_that_cannot_be_read_are_named(evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "red" / "bad.png").write_bytes(b"no picture")
    code, _, notes = evaluate(bundle, tmp_path / "data")
    assert code == 0
    assert "note: 1 picture(s) could not be used, the first: red/bad.png: expected a picture" in notes
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "bad.png").write_bytes(b"no picture")
    code, _, message = evaluate(bundle, tmp_path / "only")
    assert code == 4
    assert "no picture to evaluate on can be used" in message
    assert "bad.png" in message


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--engine", "onnxruntme"], 2, "Did you mean 'onnxruntime'"),
        (["--engine", "litert"], 2, "unknown engine of this bundle 'litert'"),
        (["--good", "red"], 2, "for inspection models"),
        (["--float", "none.onnx"], 3, "no such file"),
        (["--arch", "net.py:build"], 2, "give --float too"),
    ],
)
def test_wrong_options(evaluate: Evaluate, bundle: Path, data: Path, options: list[str], code: int, says: str) -> None:
    result = evaluate(bundle, data, *options)
    assert (result[0], result[1]) == (code, "")
    assert says in result[2]


def test_wrong_places(evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path) -> None:
    assert evaluate(tmp_path / "none", data)[0] == 5
    assert evaluate(bundle, tmp_path / "none")[0] == 4
    assert "not a file or a bundle" in evaluate(bundle, data, "-o", str(bundle))[2]
    (tmp_path / "labels.csv").write_text("image,label\na.png,weasel\n")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    code, _, message = evaluate(bundle, tmp_path)
    assert (code, "'weasel' is neither a class index" in message) == (4, True)


def test_another_model_than_the_source_is_pointed_out(
    evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path
) -> None:
    other = onnx_files.write(tmp_path / "other.onnx", kernel=onnx_files.weight() * 2)
    remarks = found(evaluate(bundle, data, "--float", str(other), "--json"))["remarks"]
    assert remarks[0] == f"'{other}' is not the file that the bundle was made from: its digest is another."
    larger = onnx_files.write(tmp_path / "larger.onnx", shape=(1, 3, 32, 32))
    assert evaluate(bundle, data, "--float", str(larger))[0] in (3, 4)


def test_where_the_desk_half_is_missing(
    evaluate: Evaluate, bundle: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("jinja2", "edgecnn.report.html", "edgecnn.composer"):
        monkeypatch.setitem(sys.modules, name, None)
    assert found(evaluate(bundle, data, "--json"))["compared"] == 12
    code, _, message = evaluate(bundle, data, "-o", str(tmp_path / "page"))
    assert (code, "--output writes a page, which needs packages that are not installed" in message) == (6, True)
    assert not (tmp_path / "page").exists()
    code, _, message = evaluate(bundle, data, "--float", str(model))
    assert (code, "pip install 'edgecnn[export]'" in message) == (6, True)


def test_a_report_of_another_version_is_no_obstacle(
    evaluate: Evaluate, bundle: Path, data: Path, tmp_path: Path
) -> None:
    with Bundle.open(bundle) as opened:
        files: dict[str, bytes | Path] = {name: bundle / name for name in opened.manifest.files}
        report = json.loads((bundle / "report.json").read_text()) | {"horoscope": []}
        write_bundle(tmp_path / "later", opened.manifest, files | {"report.json": json.dumps(report).encode()})
    section = found(evaluate(tmp_path / "later", data, "--json"))
    assert section["compared"] == 0
    assert "cannot be read: " in section["remarks"][0]
    assert "unknown field 'horoscope'" in section["remarks"][0]


def test_a_detector_without_a_batch_axis_has_noise_alone(evaluate: Evaluate, data: Path, tmp_path: Path) -> None:
    boxes = helper.make_node("Flatten", ["conv"], ["logits"], axis=2)
    model = onnx_files.write(tmp_path / "net.onnx", [boxes], output=(onnx_files.CLASSES, 256))
    bundle = exported(tmp_path / "bundle", model, data)
    section = found(evaluate(bundle, data, "--float", str(model), "--json"))

    assert (section["task"], section["agreement"], section["labelled"]) == ("raw", None, 0)
    assert section["verdict"].startswith("The task 'raw' decides nothing that could be counted")
    assert [item["output"] for item in section["noise"]] == ["logits"]
    assert 30 < section["noise"][0]["sqnr_db"] < 60
    alone = found(evaluate(bundle, data, "--json"))
    assert (alone["source"], alone["noise"]) == ("none", [])


def test_masks_are_known_again(evaluate: Evaluate, data: Path, tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["conv"], ["logits"])
    model = onnx_files.write(tmp_path / "net.onnx", [relu], output=(1, onnx_files.CLASSES, 16, 16))
    bundle = exported(tmp_path / "bundle", model, data, "--eval", str(data))
    section = found(evaluate(bundle, data, "--engine", "openvino", "--json"))

    assert (section["task"], section["source"], section["compared"]) == ("segment", "bundle", 12)
    assert section["masks"] == document.read(bundle / "report.json")["decisions"]["masks"]
    assert 0.8 < section["masks"]["iou"] < 1
    code, text, _ = evaluate(bundle, data)
    assert code == 0
    assert f"{section['masks']['iou']:.4f}" in text


def test_label_masks_beside_the_pictures_are_met_or_not(evaluate: Evaluate, tmp_path: Path) -> None:
    data = photographs(tmp_path / "photos")
    relu = helper.make_node("Relu", ["conv"], ["logits"])
    model = onnx_files.write(tmp_path / "net.onnx", [relu], output=(1, onnx_files.CLASSES, 16, 16))
    for label in LABELS:
        (tmp_path / "masks" / label).mkdir(parents=True)
        for index in range(3):
            cv2.imwrite(str(tmp_path / "masks" / label / f"{index}.png"), np.ones((16, 20), np.uint8))
    bundle = exported(tmp_path / "bundle", model, data, "--eval", str(data))
    both = document.read(bundle / "report.json")["decisions"]["label_masks"]
    assert (both["images"], [row["label"] for row in both["classes"]]) == (12, ["1"])
    assert 0 < both["int8"] < 1
    assert both["float"] == pytest.approx(both["int8"], abs=0.05)
    assert "Beside the label masks of 12 pictures" in (bundle / "report.html").read_text()
    alone = found(evaluate(bundle, data, "--json"))
    assert alone["label_masks"] == both | {"float": None, "classes": [both["classes"][0] | {"float": None}]}
    assert f"Beside the label masks of 12 pictures INT8 reaches {both['int8']:.3f} (intersection" in alone["verdict"]
    assert f"label masks, INT8 {both['int8']:.4f}" in " ".join(evaluate(bundle, data)[1].split())


@pytest.mark.parametrize(
    ("options", "says"),
    [([], "give them with --eval DIR"), (["--eval", "DATA"], "for inspection models")],
)
def test_good_parts_at_the_export(
    data: Path, model: Path, tmp_path: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["export", str(model), "-t", "rpi", "--calibrate", str(data), "--good", "red", "-o", str(tmp_path / "out")]
    assert app.main([*line, *(str(data) if item == "DATA" else item for item in options)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# With real models and pictures


@pytest.mark.data
@pytest.mark.slow
def test_escapes_of_the_built_in_model_on_magnetic_tiles(evaluate: Evaluate, data_dir: Path, tmp_path: Path) -> None:
    tiles = data_dir / "magnetic-tile" / "images"
    few = [*sorted((tiles / "free").iterdir())[:60], *sorted((tiles / "blowhole").iterdir())[:55]]
    for path in few:
        (tmp_path / "tiles" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "tiles" / path.parent.name)
    line = ["export", "-t", "rpi", "-t", "coral", "--recipe", "fast", "-o", str(tmp_path / "bundle")]
    assert app.main([*line, "--eval", str(tmp_path / "tiles"), "--good", "free"]) == 0
    section = found(evaluate(tmp_path / "bundle", tmp_path / "tiles", "--good", "free", "--engine", "litert", "--json"))

    recorded = document.read(tmp_path / "bundle" / "report.json")["decisions"]
    assert section["pictures"] == recorded["pictures"]
    assert (section["inspection"]["good"], section["inspection"]["defective"]) == (60, 55)
    verdicts = [(row["label"], row["float"]["decision"]) for row in section["pictures"]]
    assert section["inspection"]["float"]["escapes"] == verdicts.count(("REJECT", "PASS"))
    assert section["inspection"]["float"]["false_rejects"] == verdicts.count(("PASS", "REJECT"))
    assert section["inspection"]["advice"]
    # Without saying what is good, nothing is guessed.
    section = found(evaluate(tmp_path / "bundle", tmp_path / "tiles", "--json"))
    assert (section["labelled"], section["inspection"], section["compared"]) == (0, None, 115)
    assert "say which folders hold sound parts with --good NAME" in section["remarks"][0]


@pytest.mark.data
@pytest.mark.slow
def test_a_classifier_with_real_weights(evaluate: Evaluate, data_dir: Path, tmp_path: Path, project_root: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rows = (data_dir / "cifar10" / "labels.csv").read_text().splitlines()[1:121]
    for row in rows:
        shutil.copy(data_dir / "cifar10" / row.split(",")[0], pictures)
    truth = {row.split(",")[0].removeprefix("test/"): row.split(",")[1] for row in rows}
    table = "".join(f"{name},{label}\n" for name, label in truth.items())
    (pictures / "labels.csv").write_text(f"image,label\n{table}")
    weights = str(data_dir / "models" / "cifar10-resnet20.th")
    arch = ["--arch", f"{project_root / 'examples' / 'arch_resnet20.py'}:resnet20"]
    line = ["export", weights, *arch, "--input-shape", "1,3,32,32", "-t", "rpi", "-t", "intel", "--recipe", "fast"]
    line += ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--calibrate", str(pictures)]
    assert app.main([*line, "-o", str(tmp_path / "bundle")]) == 0
    section = found(
        evaluate(tmp_path / "bundle", pictures, "--float", weights, *arch, "--engine", "openvino", "--json")
    )

    right = sum(row["float"]["decision"] == truth[row["picture"]] for row in section["pictures"])
    assert section["accuracy"]["float"]["value"] == right / 120 > 0.5
    assert section["agreement"]["value"] > 0.9
    assert section["noise"][0]["sqnr_db"] > 15
    lost = section["paired"]["lost"] - section["paired"]["gained"]
    assert lost == pytest.approx(120 * section["paired"]["drop"]["value"])
    assert not any("is not the file" in remark for remark in section["remarks"])
