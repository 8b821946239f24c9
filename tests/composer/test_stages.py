"""Builds through the Python interface: what kinds of models give, and what the report says about them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from edgecnn.composer import Expectation, Request, build, open_model
from edgecnn.errors import BundleError, CalibrationError, DataError, OptionError
from edgecnn.manifest import Manifest, Resize
from edgecnn.report.document import Report
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.health.reference import Reference
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files

Build = Callable[..., tuple[Report, Manifest]]
ALL = ("rpi", "intel", "coral")


def pictures(count: int = 6, size: int = 16, channels: int = 3) -> list[np.ndarray]:
    return list(np.random.default_rng(2).integers(0, 256, (count, size, size, channels), dtype=np.uint8))


@pytest.fixture
def make(tmp_path: Path) -> Build:
    """Return a function that builds a bundle of an ONNX file and returns its report and manifest."""

    def run(
        model: Path,
        targets: Sequence[str] = ("rpi",),
        frames: Iterable[np.ndarray] | None = None,
        recipe: str = "fast",
        evaluation: Path | None = None,
        **expects: object,
    ) -> tuple[Report, Manifest]:
        source = open_model(str(model))
        wanted = replace(source.expects, **expects)
        calibration = Frames(pictures() if frames is None else frames)
        request = Request(source, wanted, tuple(targets), calibration, recipe, evaluation)
        report = build(request, tmp_path / "bundle")
        with Bundle.open(tmp_path / "bundle") as bundle:
            return report, bundle.manifest

    return run


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], output, **attributes)


# What comes out of the model decides about the task


def test_scores_are_a_classification(make: Build, tmp_path: Path) -> None:
    report, manifest = make(onnx_files.write(tmp_path / "net.onnx"), ALL)
    (output,) = manifest.outputs
    assert (manifest.task, output.layout, output.meaning) == ("classify", "NC", "logits")
    assert [engine["status"] for engine in report["engines"]] == ["exact"] * 3


def test_a_softmax_gives_probabilities(make: Build, tmp_path: Path) -> None:
    body = [node("GlobalAveragePool", "conv", "mean"), node("Flatten", "mean", "flat")]
    body.append(node("Softmax", "flat", "logits", axis=1))
    _, manifest = make(onnx_files.write(tmp_path / "net.onnx", body, output=(1, 4)))
    assert (manifest.task, manifest.outputs[0].meaning) == ("classify", "probabilities")
    assert manifest.outputs[0].tensor.grid.scale == (1 / 256,)


def test_a_map_of_scores_is_a_segmentation_and_leaves_as_nhwc(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", [node("Relu", "conv", "logits")], output=(1, 4, 16, 16))
    report, manifest = make(path, ALL)
    (output,) = manifest.outputs
    assert (manifest.task, output.layout, output.tensor.shape) == ("segment", "NHWC", (1, 16, 16, 4))
    assert [engine["judgements"][0]["by"] for engine in report["engines"]] == ["mask"] * 3


def test_indices_stay_integers(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", [node("ArgMax", "conv", "logits", axis=1)], output=(1, 1, 16, 16))
    proto = onnx.load(path)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(proto, path)
    report, manifest = make(path, ALL)
    assert (manifest.outputs[0].tensor.dtype, manifest.outputs[0].tensor.quant) == ("int64", None)
    assert [engine["max_lsb"] for engine in report["engines"]] == [0] * 3


def test_two_outputs_decide_nothing(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", [node("Relu", "conv", "features")], end="features")
    proto = onnx.load(path)
    proto.graph.output.append(helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, (1, 4, 16, 16)))
    onnx.save(proto, path)
    report, manifest = make(path, ALL)
    assert manifest.task == "raw"
    assert [output.tensor.name for output in manifest.outputs] == [spec.tensor.name for spec in manifest.outputs]
    assert [output.tensor.shape for output in manifest.outputs] == [(1, 4), (1, 16, 16, 4)]
    assert [engine["status"] for engine in report["engines"]] == ["exact"] * 3


# INT8 beside float


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_maps_are_evaluated_in_one_layout(make: Build, tmp_path: Path, mean: float) -> None:
    (tmp_path / "eval").mkdir()
    for index, frame in enumerate(pictures(3, 20)):
        cv2.imwrite(str(tmp_path / "eval" / f"{index}.png"), frame)
    path = onnx_files.write(
        tmp_path / "net.onnx",
        [node("MaxPool", "conv", "logits", kernel_shape=[1, 2], strides=[1, 2])],
        output=(1, 4, 16, 8),
    )
    report, _ = make(path, ALL, evaluation=tmp_path / "eval", mean=(mean,))
    for row in report["accuracy"]["per_engine"]:
        assert row["agreement"] > 0.95
        assert row["sqnr_db"] > 30


def test_the_first_engine_stands_for_the_bundle(make: Build, tmp_path: Path) -> None:
    (tmp_path / "eval" / "yes").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "eval" / "yes" / "a.png"), pictures(1)[0])
    labels = ("yes", "b", "c", "d")
    report, manifest = make(
        onnx_files.write(tmp_path / "net.onnx"), ("coral", "rpi"), evaluation=tmp_path / "eval", labels=labels
    )
    assert [engine.name for engine in manifest.engines] == ["litert", "onnxruntime"]
    assert [row["engine"] for row in report["accuracy"]["per_engine"]] == ["litert", "onnxruntime"]
    assert set(report["accuracy"]["top1"].values()) <= {0.0, 1.0}
    assert manifest.labels == labels


# What the report says


def norm(name: str) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """Return a batch norm on 4 channels called ``name`` and its parameters; reads ``conv``."""
    parts = {"gamma": 1.5, "beta": 0.1, "mean": 0.3, "var": 2.0}
    names = [f"{name}_{part}" for part in parts]
    tensors = [
        onnx.numpy_helper.from_array(np.full(4, value, np.float32), tensor)
        for tensor, value in zip(names, parts.values(), strict=True)
    ]
    return helper.make_node("BatchNormalization", ["conv", *names], [f"{name}_out"], name), tensors


def test_a_batch_norm_that_is_folded_is_shown(make: Build, tmp_path: Path) -> None:
    layer, parameters = norm("bn")
    proto = onnx.load(onnx_files.write(tmp_path / "net.onnx", [layer], end="bn_out"))
    proto.graph.initializer.extend(parameters)
    onnx.save(proto, tmp_path / "net.onnx")
    report, _ = make(tmp_path / "net.onnx")
    assert [fold["batch_norm"] for fold in report["folds"]["folded"]] == ["bn"]
    assert report["folds"]["unfolded"] == []
    assert report["folds"]["float_difference"] <= 1e-5


def test_a_batch_norm_that_cannot_be_folded_is_named_with_the_reason(make: Build, tmp_path: Path) -> None:
    layer, parameters = norm("bn")
    body = [node("Relu", "conv", "other"), layer, node("Add", "bn_out other", "sum")]
    proto = onnx.load(onnx_files.write(tmp_path / "net.onnx", body, end="sum"))
    proto.graph.initializer.extend(parameters)
    onnx.save(proto, tmp_path / "net.onnx")
    report, _ = make(tmp_path / "net.onnx", ALL)
    ((name, reason),) = [(item["batch_norm"], item["reason"]) for item in report["folds"]["unfolded"]]
    assert name == "bn"
    assert len(reason) > 20
    assert report["folds"]["folded"] == []
    assert [engine["max_lsb"] for engine in report["engines"]] == [0] * 3


def test_a_model_that_does_not_start_with_a_convolution_gets_a_reported_fall_back(make: Build, tmp_path: Path) -> None:
    nodes = [node("MaxPool", "image", "pool", kernel_shape=[2, 2], strides=[2, 2])]
    nodes += [node("GlobalAveragePool", "pool", "mean"), node("Flatten", "mean", "logits")]
    entry, leave = (
        (name, onnx.TensorProto.FLOAT, shape) for name, shape in (("image", (1, 3, 16, 16)), ("logits", (1, 3)))
    )
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info(*entry)], [helper.make_tensor_value_info(*leave)]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "net.onnx"
    )
    report, _ = make(tmp_path / "net.onnx", ALL, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    assert report["frame"]["fallback"]
    assert report["frame"]["exact"] is True
    assert [engine["status"] for engine in report["engines"]] == ["exact"] * 3


def test_a_mean_on_the_grid_folds_exactly_and_any_other_says_what_it_costs(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx")
    report, manifest = make(path, mean=(102 / 255,), std=(0.25,))
    assert (manifest.input.tensor.grid.zero_point, report["frame"]["exact"]) == (102, True)
    assert report["frame"]["border_effect"] < 1e-5
    shutil.rmtree(tmp_path / "bundle")
    report, manifest = make(path, mean=(0.3, 0.4, 0.5), std=(0.25,))
    assert (manifest.input.tensor.grid.zero_point, report["frame"]["exact"]) == (pytest.approx(102, abs=15), False)
    assert 1e-5 < report["frame"]["border_effect"] < 0.5


def test_notes_are_for_those_whom_they_concern(make: Build, tmp_path: Path) -> None:
    report, _ = make(onnx_files.write(tmp_path / "net.onnx"), frames=pictures(40), mean=(0.5,))
    assert report["notes"] == []


def test_a_built_in_without_trained_weights_says_so(tmp_path: Path) -> None:
    source = open_model("convnet")
    request = Request(source, source.expects, ("rpi",), Frames(pictures(40, 28, 1)), "fast")
    (note,) = build(request, tmp_path / "bundle")["notes"]
    assert note.startswith("'convnet' comes without trained weights: these are random")
    assert "edgecnn export weights.pth --arch convnet" in note


# Pictures


def test_a_one_time_iterator_calibrates(make: Build, tmp_path: Path) -> None:
    def stream() -> Iterator[np.ndarray]:
        yield from pictures(5, 30)

    report, manifest = make(onnx_files.write(tmp_path / "net.onnx"), frames=stream())
    assert report["calibration"]["images"] == manifest.provenance.calibration_count == 5


def test_frames_that_cannot_be_used_are_skipped_and_named(make: Build, tmp_path: Path) -> None:
    frames = [*pictures(2), np.zeros((16, 16, 4), np.uint8), np.zeros((16, 16, 3), np.float32), *pictures(1)]
    report, _ = make(onnx_files.write(tmp_path / "net.onnx"), frames=frames)
    assert report["calibration"]["images"] == 3
    assert [line.partition(":")[0] for line in report["calibration"]["skipped"]] == ["frame 2", "frame 3"]
    assert "Drop the alpha channel" in report["calibration"]["skipped"][0]


def test_a_recipe_takes_no_more_pictures_than_it_says(make: Build, tmp_path: Path) -> None:
    report, _ = make(onnx_files.write(tmp_path / "net.onnx"), frames=pictures(70))
    assert report["calibration"]["images"] == 64


def test_only_unusable_frames(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx")
    with pytest.raises(CalibrationError, match=r"got none.*3 channels \(BGR\) or 1 \(grey\)"):
        make(path, frames=[np.zeros((16, 16, 5), np.uint8)])
    with pytest.raises(DataError, match="no usable frame"):
        make(path, frames=[np.zeros((16, 16, 3), np.float32)])
    assert [item.name for item in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
def test_pictures_are_fitted_as_the_device_will(make: Build, tmp_path: Path, mode: str) -> None:
    frame = pictures(1, 32)[0][:, :20]
    _, manifest = make(onnx_files.write(tmp_path / "net.onnx"), frames=[frame], resize=Resize(mode))
    with Bundle.open(tmp_path / "bundle") as bundle:
        golden = bundle.golden().frames[0]
        assert len(bundle.golden().frames) == 1 + 4
    assert manifest.input.resize.mode == mode
    expected = {
        "stretch": lambda: cv2.resize(frame, (16, 16), interpolation=cv2.INTER_LINEAR_EXACT),
        "letterbox": lambda: cv2.copyMakeBorder(
            cv2.resize(frame, (10, 16), interpolation=cv2.INTER_LINEAR_EXACT),
            *(0, 0, 3, 3, cv2.BORDER_CONSTANT),
            value=(114, 114, 114),
        ),
        "crop": lambda: cv2.resize(frame, (16, 26), interpolation=cv2.INTER_LINEAR_EXACT)[5:21],
    }
    assert np.array_equal(golden, expected[mode]())


# What is refused


def test_targets(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx")
    with pytest.raises(OptionError, match="name at least one target"):
        make(path, ())
    with pytest.raises(OptionError, match=r"unknown target 'corall'. Did you mean 'coral'\?"):
        make(path, ("rpi", "corall"))


def test_a_bundle_in_the_way(make: Build, tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "net.onnx")
    make(path)
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        make(path, frames=pictures(2))
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == before


def test_an_expectation_says_what_the_defaults_are() -> None:
    assert Expectation() == Expectation((0.0,), (1.0,), "rgb", Resize("stretch"), None, (), {})


def test_a_bundle_says_what_its_calibration_frames_look_like(make: Build, tmp_path: Path) -> None:
    bundles = []
    for _ in range(2):
        _, manifest = make(onnx_files.write(tmp_path / "net.onnx"), frames=pictures(24))
        with Bundle.open(tmp_path / "bundle") as bundle:
            reference = Reference.load(bundle.path_of("health.npz"))
            bundles.append((bundle.path_of("health.npz").read_bytes(), reference.count, manifest.health))
        shutil.rmtree(tmp_path / "bundle")
    assert bundles[0] == bundles[1]
    assert bundles[0][1:] == (24, "health.npz")
    assert reference.frames.tolist() == [[16, 16], [16, 16], [3, 3]]
