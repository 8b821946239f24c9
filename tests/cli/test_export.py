"""``edgecnn export`` given what people really give: the exit code, one message that helps, and nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from edgecnn.cli import app
from edgecnn.errors import EngineError
from edgecnn.manifest import Manifest
from edgecnn.runtime import processor
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.engines import Engine
from tests.composer import onnx_files
from tests.end_to_end import stripes

ARCH = f"{stripes.__file__}:build"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stripes.photos(tmp_path_factory.mktemp("pictures") / "photos", count=4, height=20, width=24)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "stripes.pth"
    torch.save(stripes.build().state_dict(), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_files.write(tmp_path / "net.onnx")


@pytest.fixture
def export(tmp_path: Path, photos: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that exports to ``tmp_path/out/bundle`` and returns the exit code and what stderr says."""

    def run(model: object, *options: str, calibrate: Path | None = photos) -> tuple[int, str]:
        line = ["export", str(model), "--recipe", "fast", *options, "-o", str(tmp_path / "out" / "bundle")]
        line += [] if "--target" in options else ["--target", "rpi"]
        line += [] if calibrate is None else ["--calibrate", str(calibrate)]
        code = app.main(line)
        if code:
            folder = tmp_path / "out"
            assert not folder.exists() or list(folder.iterdir()) == [], "something was left behind"
        return code, capfd.readouterr().err

    return run


Export = Callable[..., tuple[int, str]]


def refused(result: tuple[int, str], code: int, *parts: str) -> None:
    """Check the exit code, that there is one message and no traceback, and what the message says."""
    assert result[0] == code, result[1]
    assert result[1].startswith("error: ")
    assert "Traceback" not in result[1]
    assert [part for part in parts if part not in result[1]] == [], result[1]


# What is no model


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("photo.onnx", None, "is not an ONNX model"),
        ("empty.onnx", b"", "is empty. Fetch or export the model again"),
        ("notes.onnx", b"this is a text file, not a model\n" * 9, "is not an ONNX model"),
        ("page.onnx", b"<!DOCTYPE html><title>404</title>", "HTML"),
        ("photo.pth", None, "this is no PyTorch file"),
        ("empty.pth", b"", "the file is empty"),
        ("empty.pt2", b"", "not a readable .pt2"),
        ("net.tflite", b"\x1c\0\0\0TFL3", "expected a model that ends in .onnx, .pt2"),
    ],
)
def test_not_a_model(export: Export, photos: Path, tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(next(photos.glob("*.jpg")).read_bytes() if content is None else content)
    refused(export(path, "--arch", ARCH, "--input-shape", "1,3,32,32"), 3, name, says)


def test_a_model_cut_off_at_any_place(export: Export, model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / "cut.onnx"
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(export(path), 3, "cut.onnx")


def test_no_such_model(export: Export, tmp_path: Path) -> None:
    refused(export(tmp_path / "net.onnx"), 3, "no such file")
    refused(export(tmp_path), 3, "expected a file", "got a folder")
    refused(
        export("resnet81"), 2, "unknown built-in model 'resnet81'", "Did you mean 'resnet18'?", "no file of that name"
    )


def test_operators_that_cannot_be_lowered_are_all_named(export: Export, tmp_path: Path) -> None:
    body = [helper.make_node("Erf", ["conv"], ["a"], "gelu"), helper.make_node("Cos", ["a"], ["b"], "wave")]
    path = onnx_files.write(tmp_path / "net.onnx", body, end="b")
    refused(export(path), 3, "2 node(s) cannot be lowered", "Erf 'gelu'", "Cos 'wave'")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(export: Export, tmp_path: Path, value: float) -> None:
    kernel = onnx_files.weight()
    kernel[1, 2, 0, 0] = value
    refused(
        export(onnx_files.write(tmp_path / "net.onnx", kernel=kernel)),
        3,
        "tensor 'kernel'",
        "1 value(s)",
        "take another checkpoint",
    )


def test_a_model_with_two_inputs(export: Export, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(
        onnx_files.write(tmp_path / "a.onnx", [helper.make_node("Add", ["conv", "other"], ["sum"])], end="sum")
    )
    proto.graph.input.append(helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, (1, 4, 16, 16)))
    onnx.save(proto, tmp_path / "a.onnx")
    refused(export(tmp_path / "a.onnx"), 3, "2 inputs (image, other), expected one picture")


# State dicts


class Burglar:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_in_it_runs_nothing(export: Export, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"state_dict": Burglar(mark)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"head.weight": Burglar(mark)}))
    for name in ("a.pth", "b.pth"):
        result = export(tmp_path / name, "--arch", ARCH, "--input-shape", "1,3,32,32")
        refused(result, 3, name, "holds more than tensors", "nothing of it was used", "torch.save(model.state_dict()")
    assert not mark.exists()


def test_a_state_dict_needs_its_network_and_its_size(export: Export, weights: Path) -> None:
    refused(export(weights), 2, "--arch file.py:factory", "resnet18")
    refused(export(weights, "--arch", ARCH), 2, "--input-shape, e.g. 1,3,224,224")
    refused(export(weights, "--arch", "resnet81"), 2, "unknown built-in model 'resnet81'", "Did you mean 'resnet18'?")
    refused(export(weights, "--arch", "resnet18"), 3, "the weights do not fit the network", "--arch file.py:factory")
    refused(export(weights, "--arch", "none.py:build", "--input-shape", "1,3,32,32"), 3, "none.py: no such file")


@pytest.mark.parametrize(
    ("shape", "code", "says"),
    [
        ("huge", 2, "--input-shape must be whole numbers like 1,3,224,224; got 'huge'"),
        ("", 2, "--input-shape must be whole numbers"),
        ("1,3,32.5,32", 2, "--input-shape must be whole numbers"),
        ("1,3,0,32", 3, "must be positive integers with batch 1"),
        ("8,3,32,32", 3, "must be positive integers with batch 1"),
        ("3,32,32", 3, "batch 1"),
        ("1,5,32,32", 3, "fails on an input of shape (1, 5, 32, 32)"),
    ],
)
def test_shapes_that_do_not_fit(export: Export, weights: Path, shape: str, code: int, says: str) -> None:
    refused(export(weights, "--arch", ARCH, "--input-shape", shape), code, says)


def test_dynamic_dimensions_need_a_shape(export: Export, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", shape=("N", 3, "height", "width"))
    refused(export(path), 3, "dynamic dimension(s) 2 ('height'), 3 ('width')", "--input-shape", "1,3,224,224")
    assert export(path, "--input-shape", "1,3,16,16")[0] == 0


# Options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--target", "rpy"], ["unknown target 'rpy'", "Did you mean 'rpi'?", "coral, intel, rpi, x86"]),
        (["--target", "rpi,intel"], ["target", "rpi,intel"]),
        (["--recipe", "fats"], ["unknown recipe 'fats'", "Did you mean 'fast'?"]),
        (["--mean", "0.1,0.2"], ["mean has 2 values", "3 channel(s)"]),
        (["--std", "0.1,0.2,0.3,0.4"], ["std has 4 values", "3 channel(s)"]),
        (["--mean", "grey"], ["--mean must be one number or one per channel", "'grey'"]),
        (["--mean", "123.675,116.28,103.53"], ["--mean", "0..255", "Divided: 0.485,0.456,0.406"]),
        (["--std", "58.395"], ["--std", "pixels are 0..1", "Divided: 0.229"]),
        (["--std", "0"], ["std positive"]),
        (["--mean", "nan"], ["mean must be finite"]),
        (["--color", "cmyk"], ["unknown color 'cmyk'", "bgr, gray, rgb"]),
        (["--color", "gray"], ["color is 'gray'", "3 channel(s)"]),
        (["--resize", "squash"], ["--resize must be one of stretch, letterbox, crop, tile; got 'squash'"]),
        (["--threshold", "0.5"], ["only the one threshold of an inspection can be set", "rejects nothing"]),
        (["--labels", "no/such/file"], ["--labels", "one class name a line"]),
    ],
)
def test_options_that_are_not_allowed(export: Export, model: Path, options: list[str], says: list[str]) -> None:
    refused(export(model, *options), 2, *says)


def test_a_bundle_with_another_threshold(export: Export, tmp_path: Path) -> None:
    assert export("defect", "--threshold", "0.7")[0] == 0
    with Bundle.open(tmp_path / "out" / "bundle") as bundle:
        assert bundle.manifest.threshold == 0.7


def test_a_target_must_be_named(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["export", str(model)]) == 2
    assert "name a target with --target; see: edgecnn targets" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("names", "says"),
    [(["a", "b", "c"], ["4 classes", "3 labels"]), (["a", "b", "a", "c"], ["two classes are called 'a'"])],
)
def test_labels_that_do_not_fit(export: Export, model: Path, tmp_path: Path, names: list[str], says: list[str]) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(names))
    refused(export(model, "--labels", str(tmp_path / "labels.txt")), 2, *says, "--labels")


# Pictures


def test_a_users_model_needs_pictures(export: Export, model: Path) -> None:
    refused(export(model, calibrate=None), 4, "'net' needs calibration pictures", "100 or more", "--calibrate DIR")


def test_folders_without_pictures(export: Export, model: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(export(model, calibrate=tmp_path / "folder"), 4, "no pictures in it", ".jpg")
    (tmp_path / "folder" / "notes.txt").write_text("none")
    refused(export(model, calibrate=tmp_path / "folder"), 4, "no pictures in it")
    refused(export(model, calibrate=tmp_path / "none"), 4, "no such file or folder")
    refused(export(model, "--eval", str(tmp_path / "none")), 4, "expected a folder of pictures to evaluate on")


def test_one_picture_is_enough_and_is_remarked_on(export: Export, model: Path, photos: Path, tmp_path: Path) -> None:
    code, notes = export(model, calibrate=next(photos.glob("*.png")))
    assert code == 0
    assert "calibrated on 1 image(s): ranges are uncertain; give at least 32" in notes
    with Bundle.open(tmp_path / "out" / "bundle") as bundle:
        assert bundle.golden().frames.shape == (1 + 4, 16, 16, 3)


TAKEN_FOR_GRANTED = "no --mean and --std were given"


def test_what_is_taken_for_granted_is_a_note_and_what_was_said_is_not(export: Export, model: Path) -> None:
    assert TAKEN_FOR_GRANTED in export(model)[1]
    assert TAKEN_FOR_GRANTED not in export(model, "--mean", "0", "--std", "1", "--overwrite")[1]
    assert TAKEN_FOR_GRANTED not in export(model, "--std", "0.5", "--overwrite")[1]


def test_a_model_of_bytes_takes_nothing_for_granted(export: Export, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx")
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    proto.graph.node.insert(0, helper.make_node("Cast", ["image"], ["real"], to=onnx.TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "real"
    onnx.save(proto, path)
    code, notes = export(path)
    assert code == 0
    assert TAKEN_FOR_GRANTED not in notes


def test_corrupt_pictures_among_good_ones_are_skipped_and_named(
    export: Export, model: Path, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    jpeg = next(photos.glob("*.jpg")).read_bytes()
    bad = {"cut.jpg": jpeg[:300], "empty.jpg": b"", "text<b>.png": b"no picture"}
    for name, content in {"good.jpg": jpeg, **bad}.items():
        (folder / name).write_bytes(content)
    cv2.imwrite(str(folder / "deep.png"), np.zeros((9, 9), np.uint16))
    code, notes = export(model, calibrate=folder)
    assert code == 0
    assert "4 calibration image(s) could not be used; the report names them" in notes
    found = json.loads((tmp_path / "out" / "bundle" / "report.json").read_text())["calibration"]
    assert found["images"] == 1
    assert [line.partition(":")[0] for line in found["skipped"]] == ["cut.jpg", "deep.png", "empty.jpg", "text<b>.png"]
    page = (tmp_path / "out" / "bundle" / "report.html").read_text()
    assert all(name in page for name in ("cut.jpg", "deep.png", "empty.jpg", "text&lt;b&gt;.png"))


def test_only_corrupt_pictures(export: Export, model: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jpg").write_bytes(b"no picture")
    refused(export(model, calibrate=tmp_path / "folder"), 4, "a.jpg", "it is none or is damaged")


def test_frames_with_the_wrong_channels(export: Export, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((3, 16, 16, 5), np.uint8))
    refused(export(model, calibrate=tmp_path / "frames.npy"), 4, "3 channels (BGR) or 1 (grey)", "(16, 16, 5)")
    np.save(tmp_path / "frames.npy", np.zeros((3, 16, 16, 3), np.float32))
    refused(export(model, calibrate=tmp_path / "frames.npy"), 4, "expected uint8 frames", "float32")


def test_a_five_channel_model_takes_five_channel_frames(export: Export, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 5), dtype=np.uint8)
    np.savez(tmp_path / "frames.npz", frames=frames)
    path = onnx_files.write(tmp_path / "net.onnx", shape=(1, 5, 16, 16), kernel=onnx_files.weight(5))
    assert export(path, "--target", "rpi", "--target", "coral", calibrate=tmp_path / "frames.npz")[0] == 0
    with Bundle.open(tmp_path / "out" / "bundle") as bundle:
        assert (bundle.manifest.input.color, bundle.manifest.input.channels) == ("channels", 5)
        golden = {frame.tobytes() for frame in bundle.golden().frames}
        assert golden > {frame.tobytes() for frame in frames}
    refused_line = [str(path), "--target", "rpi", "--calibrate", str(tmp_path / "frames.npz"), "--overwrite"]
    assert app.main(["export", *refused_line, "--mean", "1,2,3", "-o", str(tmp_path / "out" / "bundle")]) == 2


def test_a_grey_model_needs_no_word_about_colour(export: Export, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", shape=(1, 1, 16, 16), kernel=onnx_files.weight(1))
    assert export(path)[0] == 0
    with Bundle.open(tmp_path / "out" / "bundle") as bundle:
        assert (bundle.manifest.input.color, bundle.manifest.provenance.source_color) == ("gray", "gray")


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_of_one_value_give_a_grid_all_the_same(
    export: Export, model: Path, tmp_path: Path, value: int
) -> None:
    np.save(tmp_path / "frames.npy", np.full((4, 16, 16, 3), value, np.uint8))
    assert export(model, "--target", "rpi", "--target", "coral", calibrate=tmp_path / "frames.npy")[0] == 0
    document = json.loads((tmp_path / "out" / "bundle" / "report.json").read_text())
    scales = [layer["scale"] for layer in document["layers"]]
    assert all(np.isfinite(scales))
    assert min(scales) > 0
    assert [engine["status"] for engine in document["engines"]] == ["exact", "exact"]


def test_a_dead_channel_gives_no_zero_scale(export: Export, tmp_path: Path) -> None:
    kernel = onnx_files.weight()
    kernel[2] = 0
    kernel[3] *= 1e-30
    assert export(onnx_files.write(tmp_path / "net.onnx", kernel=kernel), "--target", "coral")[0] == 0
    document = json.loads((tmp_path / "out" / "bundle" / "report.json").read_text())
    assert [(engine["engine"], engine["max_lsb"]) for engine in document["engines"]] == [("litert", 0)]


def test_corrupt_pictures_to_evaluate_on_are_left_out_and_named(
    export: Export, model: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "bad.jpg").write_bytes(b"no picture")
    result = export(model, "--eval", str(tmp_path / "eval"))
    refused(result, 4, "no picture to evaluate on can be used", "bad.jpg", "it is none or is damaged")
    (tmp_path / "eval" / "good.jpg").write_bytes(next(photos.glob("*.jpg")).read_bytes())
    code, notes = export(model, "--eval", str(tmp_path / "eval"))
    assert code == 0
    assert "1 picture(s) to evaluate on could not be used, the first: " in notes
    assert "bad.jpg" in notes
    assert json.loads((tmp_path / "out" / "bundle" / "report.json").read_text())["accuracy"]["images"] == 1


def test_weights_that_overflow(export: Export, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", kernel=onnx_files.weight() * np.float32(1e38))
    refused(export(path), 4, "NaN or infinite values on a calibration image", "--mean/--std")


# What comes out


@pytest.fixture
def off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime move one integer of every picture by one."""
    from edgecnn.runtime.engines.onnxruntime import OnnxRuntimeEngine

    run = OnnxRuntimeEngine.run

    def wrong(engine: OnnxRuntimeEngine, arrays: list[np.ndarray]) -> list[np.ndarray]:
        outputs = run(engine, arrays)
        outputs[0][0, 2] ^= 1
        return outputs

    monkeypatch.setattr(OnnxRuntimeEngine, "run", wrong)


@pytest.mark.usefixtures("off_by_one")
def test_one_integer_off_by_one_is_exit_code_1(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["export", str(model), "-t", "rpi", "--recipe", "fast", "--calibrate", str(photos)]
    assert app.main([*line, "-o", str(tmp_path / "bundle")]) == 1
    printed = capfd.readouterr()
    assert "FAILED: output 'logits' differs in " in printed.out
    assert "error: the proof FAILED. " in printed.err
    assert "bundle was written to look into it, do not deploy it. onnxruntime: output 'logits'" in printed.err
    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert [(item["status"], item["max_lsb"]) for item in report["engines"]] == [("failed", 1)]
    assert report["processor"] == str(processor.here())
    assert "FAILED on onnxruntime" in (tmp_path / "bundle" / "report.html").read_text()


def test_an_engine_that_cannot_load_its_file_fails_the_proof(
    model: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.composer import stages

    opened = stages.open_artefact

    def refuse(manifest: Manifest, engine: str, path: Path) -> Engine:
        if engine == "openvino":
            raise EngineError("model.xml: OpenVINO cannot load it.")
        return opened(manifest, engine, path)

    monkeypatch.setattr(stages, "open_artefact", refuse)
    line = ["export", str(model), "-t", "rpi", "-t", "intel", "--recipe", "fast", "--calibrate", str(photos)]
    line += ["--eval", str(photos), "-o", str(tmp_path / "bundle"), "--json"]
    assert app.main(line) == 1
    printed = capfd.readouterr()
    document = json.loads(printed.out)
    assert [(item["engine"], item["status"]) for item in document["engines"]] == [
        ("onnxruntime", "exact"),
        ("openvino", "failed"),
    ]
    assert (document["engines"][1]["max_lsb"], document["engines"][1]["outputs"]) == (None, [])
    assert [item["engine"] for item in document["accuracy"]["per_engine"]] == ["onnxruntime"]
    assert "the proof FAILED. " in printed.err
    assert "openvino: model.xml: OpenVINO cannot load it." in printed.err


# An accuracy budget


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """120 pictures in folders that are called like classes, none of which is right more often than another."""
    rng = np.random.default_rng(3)
    for index in range(120):
        folder = tmp_path / "labelled" / "abcd"[index % 4]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return tmp_path / "labelled"


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return onnx_files.write(tmp_path / "net.onnx", metadata={"names": "['a', 'b', 'c', 'd']"})


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--max-drop", "0.5"], 2, ["--max-drop is measured on pictures", "--eval DIR"]),
        (["--max-drop", "0", "--eval"], 2, ["--max-drop is in percentage points", "got 0."]),
        (["--max-drop", "100", "--eval"], 2, ["more than 0 and less than 100", "got 100."]),
        (["--max-drop", "1", "--eval"], 4, ["at least 268 pictures", "120 have a label", "or allow --max-drop 2.21"]),
    ],
)
def test_budgets_that_cannot_be(
    export: Export, classifier: Path, labelled: Path, options: list[str], code: int, says: list[str]
) -> None:
    line = [*options, str(labelled)] if options[-1] == "--eval" else options
    refused(export(classifier, *line), code, *says)


def test_a_budget_that_is_kept_says_by_which_recipe(
    classifier: Path, labelled: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["export", str(classifier), "-t", "rpi", "--calibrate", str(photos), "--eval", str(labelled)]
    assert app.main([*line, "--max-drop", "20", "-o", str(tmp_path / "bundle")]) == 0
    shown = capfd.readouterr().out
    assert "accuracy budget of 20 points, on onnxruntime" in shown
    assert "The recipe 'fast' keeps the budget of 20 points: drop" in shown
    with Bundle.open(tmp_path / "bundle") as bundle:
        assert bundle.manifest.provenance.recipe == "fast"


def test_a_budget_that_is_not_kept_is_exit_code_1_and_leaves_the_nearest_bundle(
    classifier: Path,
    labelled: Path,
    photos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgecnn.composer import budget, ladder

    monkeypatch.setattr(budget, "ladder", lambda: ["fast"])
    monkeypatch.setattr(ladder.Ladder, "_count", lambda *rest: budget.Tally(120, 100, lost=18, gained=1))
    line = ["export", str(classifier), "-t", "rpi", "--calibrate", str(photos), "--eval", str(labelled), "--json"]
    assert app.main([*line, "--max-drop", "2.3", "-o", str(tmp_path / "bundle")]) == 1
    printed = capfd.readouterr()
    found = json.loads(printed.out)["budget"]
    assert (found["holds"], found["recipe"], len(found["steps"])) == (False, "fast", 1)
    assert "'fast' comes nearest: drop 14.17, at most " in found["verdict"]
    assert f"error: {found['verdict']} {tmp_path / 'bundle'} holds that result" in printed.err
    with Bundle.open(tmp_path / "bundle") as bundle:
        assert bundle.manifest.provenance.recipe == "fast"


def test_names_in_the_files_metadata_become_labels(export: Export, tmp_path: Path) -> None:
    names = "{0: 'left turn', 1: \"it's\", 2: 'c', 10: 'last'}"
    assert export(onnx_files.write(tmp_path / "net.onnx", metadata={"names": names}))[0] == 0
    with Bundle.open(tmp_path / "out" / "bundle") as bundle:
        assert bundle.manifest.labels == ("left turn", "it's", "c", "last")


def test_names_that_are_no_text_do_not_end_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Linux takes any bytes as a file's name, also those that a terminal obeys."""
    pictures, rng = tmp_path / "pictures", np.random.default_rng(0)
    pictures.mkdir()
    for index in range(12):
        content = cv2.imencode(".png", rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))[1].tobytes()
        Path(os.fsdecode(os.fsencode(pictures) + b"/a\xff%d.png" % index)).write_bytes(content)
    Path(os.fsdecode(os.fsencode(pictures) + b"/bad\xfe\x1b[2J.png")).write_bytes(b"no picture")
    model = onnx_files.write(tmp_path / "net.onnx")
    line = [
        "export",
        str(model),
        "-t",
        "rpi",
        "--recipe",
        "fast",
        "--calibrate",
        str(pictures),
        "--eval",
        str(pictures),
    ]
    assert app.main([*line, "-o", str(tmp_path / "bundle")]) == 0
    assert app.main(["inspect", str(tmp_path / "bundle")]) == 0
    shown = "".join(capfd.readouterr())
    assert "bad" in shown
    assert "\x1b[2J" not in shown
    assert "bad\\udcfe" in (tmp_path / "bundle" / "report.json").read_text()
