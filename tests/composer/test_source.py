from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file

from edgecnn import models
from edgecnn.composer import open_model
from edgecnn.composer.source import Expectation, own_frames
from edgecnn.errors import ModelError, OptionError
from edgecnn.models import surface
from edgecnn.models.model_card import ModelCard
from edgecnn.models.trained import save_trained
from tests.composer import onnx_files
from tests.end_to_end import stripes


def shape_of(source: object) -> tuple[int, ...]:
    return tuple(source.model.graph.inputs[0].shape.numpy())


def test_an_onnx_file(tmp_path: Path) -> None:
    path = onnx_files.write(tmp_path / "my net.ONNX")
    source = open_model(str(path))
    assert (source.name, source.card) == ("my net", None)
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.expects.mean, source.expects.std, source.expects.color) == ((0.0,), (1.0,), "rgb")
    assert shape_of(source) == (1, 3, 16, 16)
    assert own_frames(source) is None


def test_a_state_dict_with_a_users_network(tmp_path: Path) -> None:
    torch.save(stripes.build().state_dict(), tmp_path / "net.pth")
    source = open_model(str(tmp_path / "net.pth"), (1, 3, 48, 64), f"{stripes.__file__}:build")
    assert shape_of(source) == (1, 3, 48, 64)
    assert source.expects.labels == ()


def test_weights_of_a_built_in_expect_what_the_built_in_expects(tmp_path: Path) -> None:
    card = models.card("convnet")
    torch.save(models.build("convnet").state_dict(), tmp_path / "digits.pt")
    source = open_model(str(tmp_path / "digits.pt"), arch="convnet")
    assert (source.expects.mean, source.expects.std, source.expects.color) == (card.mean, card.std, "gray")
    assert shape_of(source) == (1, *card.input_shape)
    assert (source.name, source.card) == ("digits", None)


def test_an_exported_program(tmp_path: Path) -> None:
    program = torch.export.export(stripes.build().eval(), (torch.zeros(1, 3, 32, 32),))
    torch.export.save(program, tmp_path / "net.pt2")
    assert shape_of(open_model(str(tmp_path / "net.pt2"))) == (1, 3, 32, 32)


def test_a_built_in_is_the_same_every_time() -> None:
    first, second = (open_model("convnet") for _ in range(2))
    assert first.digest == second.digest
    assert first.card == "convnet"
    assert first.expects.mean == (0.1307,)


def test_a_built_ins_crop_is_kept() -> None:
    card = models.card("mobilenetv2")
    resize = open_model("mobilenetv2", (1, 3, 64, 64)).expects.resize
    assert (resize.mode, resize.crop_ratio) == (card.resize, card.crop_ratio) == ("crop", 0.875)


def test_no_model_is_the_defect_model_with_frames_of_its_own() -> None:
    source = open_model(None)
    frames = own_frames(source)
    assert (source.card, source.expects.task) == ("defect", "defect")
    assert set(source.expects.thresholds) <= set(source.expects.labels)
    assert frames is not None
    assert len(frames) >= 100


def test_a_trained_file_brings_its_network_its_card_and_its_frames(tmp_path: Path) -> None:
    path, frames = tmp_path / "tiles.safetensors", list(np.full((2, 64, 96, 3), 7, np.uint8))
    arguments = {"height": 64, "width": 96, "classes": 3}
    labels, decoding = ("good", "a", "b"), {"threshold": 0.3}
    card = ModelCard(
        "x", "defect", (3, 64, 96), "bgr", (0.5,) * 3, (0.25,) * 3, "letterbox", 1.0, labels, None, {}, decoding
    )
    save_trained(path, surface.network(**arguments), "surface", arguments, card, frames)
    source = open_model(str(path))

    assert (source.name, source.card) == ("tiles", None)
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert shape_of(source) == (1, 3, 64, 96)
    assert (source.expects.task, source.expects.labels, source.expects.decoding) == ("defect", labels, decoding)
    assert (source.expects.color, source.expects.std, source.expects.resize.mode) == ("bgr", (0.25,) * 3, "letterbox")
    own = own_frames(source)
    assert own is not None
    assert [int(frame.min()) for frame in own] == [7, 7]
    with pytest.raises(OptionError, match="says itself which network it holds: leave --arch out"):
        open_model(str(path), arch="convnet")


def test_a_damaged_trained_file_is_not_taken_for_a_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "tiles.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"edgecnn": "{}"})
    with pytest.raises(ModelError, match=r"tiles\.safetensors: the field 'schema' is missing"):
        open_model(str(path))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('["a", "b c", "d", "e"]', ("a", "b c", "d", "e")),
        ('{"0": "a", "1": "b", "10": "d", "2": "c"}', ("a", "b", "c", "d")),
        ("{0: 'a', 1: \"it's\", 2: 'c', 3: 'd'}", ("a", "it's", "c", "d")),
        ("hot dog\nbun\nketchup\nmustard\n", ("hot dog", "bun", "ketchup", "mustard")),
        ("hot dog, bun, ketchup, mustard", ("hot dog", "bun", "ketchup", "mustard")),
        ("cat dog cow pig", ("cat", "dog", "cow", "pig")),
        ("it's {broken", ("it's", "{broken")),
        ("__import__('os').getcwd()", ("__import__('os').getcwd()",)),
    ],
)
@pytest.mark.parametrize("key", ["labels", "names"])
def test_labels_in_the_metadata(tmp_path: Path, key: str, text: str, labels: tuple[str, ...]) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", metadata={key: text})
    assert open_model(str(path)).expects.labels == labels


@pytest.mark.parametrize(
    ("shape", "color"), [((1, 1, 16, 16), "gray"), ((1, 3, 16, 16), "rgb"), ((1, 5, 16, 16), "rgb")]
)
def test_one_channel_is_grey(tmp_path: Path, shape: tuple[int, ...], color: str) -> None:
    path = onnx_files.write(tmp_path / "net.onnx", shape=shape, kernel=onnx_files.weight(shape[1]))
    assert open_model(str(path)).expects.color == color


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a file .*\.onnx.*, got a folder"):
        open_model(str(tmp_path))
    (tmp_path / "saved_model.h5").write_bytes(b"\x89HDF")
    with pytest.raises(ModelError, match=r"expected a model that ends in .*got '\.h5'"):
        open_model(str(tmp_path / "saved_model.h5"))
    with pytest.raises(OptionError, match=r"unknown built-in model 'convnot'. Did you mean 'convnet'\?"):
        open_model("convnot")
    torch.save({}, tmp_path / "a.pth")
    with pytest.raises(OptionError, match="weights without a network"):
        open_model(str(tmp_path / "a.pth"))
    body = [helper.make_node("Softplus", ["conv"], ["end"])]
    open_model(str(onnx_files.write(tmp_path / "a.onnx", body, end="end")))  # what can be lowered is seen later


def test_the_threshold_of_an_inspection_can_be_set() -> None:
    trained = Expectation(decoding={"threshold": 0.5, "peak_pixels": 4})
    carded = Expectation(thresholds={"dent": 0.5})

    assert trained.with_threshold(0.7) == Expectation(
        decoding={"threshold": 0.7, "peak_pixels": 4}, threshold_told=True
    )
    assert carded.with_threshold(0.7) == Expectation(thresholds={"dent": 0.7}, threshold_told=True)


@pytest.mark.parametrize(
    ("expects", "value", "says"),
    [
        (Expectation(decoding={"threshold": 0.5}), 1.0, "between 0 and 1, got 1"),
        (Expectation(decoding={"threshold": 0.5}), float("nan"), "between 0 and 1, got nan"),
        (Expectation(thresholds={"dent": 0.5, "pit": 0.4}), 0.5, "one for each of dent, pit"),
        (Expectation(task="segment"), 0.5, "this model has none: it rejects nothing"),
    ],
)
def test_thresholds_that_cannot_be_set(expects: Expectation, value: float, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        expects.with_threshold(value)
