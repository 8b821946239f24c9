"""A trained file comes back as it was, byte for byte; damaged, foreign and hostile ones are refused by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgecnn import limits
from edgecnn.errors import ModelError
from edgecnn.models import surface, trained
from edgecnn.models.model_card import ModelCard
from edgecnn.models.trained import is_trained, read_trained, save_trained

ARGUMENTS = {"height": 64, "width": 96, "classes": 3}
CARD = ModelCard(
    name="tiles",
    task="defect",
    input_shape=(3, 64, 96),
    color="bgr",
    mean=(0.5, 0.4, 0.3),
    std=(0.25, 0.2, 0.3),
    resize="letterbox",
    crop_ratio=0.9,
    labels=("good", "crack", "Lücke"),
    thresholds={"crack": 0.25},
    decoding={"pixel_threshold": 0.5, "peak_pixels": 8, "word": "x", "flag": True},
)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return surface.network(**ARGUMENTS)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3)).astype(np.uint8))


@pytest.fixture
def path(tmp_path: Path, network: nn.Module, frames: list[np.ndarray]) -> Path:
    save_trained(tmp_path / "net.safetensors", network, "surface", ARGUMENTS, CARD, frames)
    return tmp_path / "net.safetensors"


def test_everything_comes_back(path: Path, network: nn.Module, frames: list[np.ndarray]) -> None:
    found = read_trained(path)

    assert is_trained(path)
    assert (found.family, found.arguments) == ("surface", ARGUMENTS)
    assert [(item.name, getattr(found.card, item.name)) for item in fields(CARD)] == [
        (item.name, getattr(CARD, item.name)) for item in fields(CARD)
    ]
    assert len(found.frames) == 3
    assert all(np.array_equal(first, second) for first, second in zip(found.frames, frames, strict=True))
    assert not found.module.training
    pictures = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for first, second in zip(found.module(pictures), network.eval()(pictures), strict=True):
            assert torch.equal(first, second)


def test_the_same_contents_give_the_same_bytes(path: Path, network: nn.Module, frames: list[np.ndarray]) -> None:
    again = path.with_name("again.safetensors")
    placed = nn.utils.convert_conv2d_weight_memory_format(copy.deepcopy(network), torch.channels_last)
    save_trained(again, placed, "surface", dict(reversed(ARGUMENTS.items())), CARD, frames)

    assert again.read_bytes() == path.read_bytes()


def test_weights_alone_are_no_trained_file(tmp_path: Path, network: nn.Module) -> None:
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"\xff" * 100)

    assert not is_trained(tmp_path / "a.safetensors")
    assert not is_trained(tmp_path / "b.safetensors")
    assert not is_trained(tmp_path / "c.safetensors")
    with pytest.raises(ModelError, match="weights alone, not the file that 'edgecnn train' writes"):
        read_trained(tmp_path / "a.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_off(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"net\.safetensors: not a whole safetensors file"):
        read_trained(path)


Change = Callable[[dict[str, Any]], object]


def changed(path: Path, document: Change = lambda found: None, tensors: Change = lambda found: None) -> Path:
    """Write the file again with its document and tensors changed."""
    stored = load_file(path)
    with trained.safe_open(path, framework="pt") as archive:
        found = json.loads(archive.metadata()["edgecnn"])
    document(found)
    tensors(stored)
    save_file(stored, path, {"edgecnn": json.dumps(found)})
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: found.update(schema=2), "'schema' is 2, this version of edgecnn reads 1. Update edgecnn"),
        (lambda found: found.update(family="nobody"), "unknown network family 'nobody'"),
        (lambda found: found.update(family="../arch"), "unknown network family '../arch'"),
        (lambda found: found.update(family="resnet"), "'resnet' is no network family that can be trained"),
        (lambda found: found.update(extra=1), "unknown field 'extra'"),
        (lambda found: found.pop("card"), "the field 'card' is missing"),
        (lambda found: found["arguments"].update(classes=10**9), "'classes' must be in 0 .. 256, got 1000000000"),
        (lambda found: found["arguments"].update(classes=3.5), "'arguments.classes' must be an integer"),
        (lambda found: found["arguments"].pop("width"), "the network takes ['classes', 'height', 'width'], got"),
        (lambda found: found["arguments"].update(depth=9), "the network takes ['classes', 'height', 'width'], got"),
        (lambda found: found["arguments"].update(height=128), "the card's height is 64, the network's 128"),
        (lambda found: found["arguments"].update(classes=4), "'classifier.weight' (3, 144) instead of (4, 144)"),
        (lambda found: found["card"].update(input_shape=[3, 64, 10**6]), "two sides of 1 .. 4096"),
        (lambda found: found["card"].update(input_shape=[3, 64]), "two sides of 1 .. 4096"),
        (lambda found: found["card"].update(task="steer"), "'card.task' must be one of classify"),
        (lambda found: found["card"].update(std=[0.0, 1.0, 1.0]), "sizes and std must be positive"),
        (lambda found: found["card"].update(mean=[float("nan")] * 3), "'NaN' is no number of JSON"),
        (lambda found: found["card"].update(color="gray"), "gray has 1 channel(s)"),
        (lambda found: found["card"].update(thresholds={"dent": 0.5}), "thresholds for labels it does not have: dent"),
        (lambda found: found["card"].update(weights="/etc/passwd"), "unknown field 'card.weights'"),
        (lambda found: found["card"].update(decoding={"a": [1]}), "'card.decoding' must be an object of plain values"),
    ],
)
def test_a_document_that_was_tampered_with(path: Path, change: Change, says: str) -> None:
    with pytest.raises(ModelError) as error:
        read_trained(changed(path, document=change))
    assert says in str(error.value)


def png(height: int, width: int, grey: bool = False) -> Tensor:
    picture = np.zeros((height, width) if grey else (height, width, 3), np.uint8)
    return torch.from_numpy(cv2.imencode(".png", picture)[1].copy())


def broken() -> Tensor:
    data = png(64, 96)
    data[40:] = 0
    return data


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: found.pop("classifier.bias"), "1 missing: 'classifier.bias'"),
        (lambda found: found.update(spy=torch.zeros(3)), "1 unexpected: 'spy'"),
        (lambda found: found["map.bias"].fill_(float("inf")), "NaN or infinity in 'map.bias'"),
        (lambda found: found.update({"calibration/0001": png(64, 97)}), "'calibration/0001' must be a PNG of 96x64"),
        (lambda found: found.update({"calibration/0001": png(64, 96, True)}), "3 channel(s) of 8 bits"),
        (lambda found: found.update({"calibration/0001": torch.zeros(0, dtype=torch.uint8)}), "must be a PNG of 96x64"),
        (lambda found: found.update({"calibration/0001": torch.zeros(99)}), "must be a PNG of 96x64"),
        (lambda found: found.update({"calibration/0001": broken()}), "'calibration/0001' is a damaged PNG"),
        (lambda found: [found.pop(f"calibration/000{index}") for index in range(3)], "expected 1 .. 4096 calibration"),
    ],
)
def test_tensors_that_were_tampered_with(path: Path, change: Change, says: str) -> None:
    with pytest.raises(ModelError) as error:
        read_trained(changed(path, tensors=change))
    assert says in str(error.value)
    assert "--arch" not in str(error.value)


def test_what_is_too_large_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "METADATA", replace(limits.METADATA, most=100))
    with pytest.raises(
        ModelError, match=r"characters are more than the 100 that the metadata of a trained file may have"
    ):
        read_trained(path)
    monkeypatch.setattr(trained, "MOST_PIXELS", 3 * 64 * 96 - 1)
    monkeypatch.setattr(limits, "METADATA", replace(limits.METADATA, most=1 << 20))
    with pytest.raises(ModelError, match="got 3 of 96x64"):
        read_trained(path)
    monkeypatch.setattr(limits, "TRAINED", replace(limits.TRAINED, most=1000))
    with pytest.raises(ModelError, match="more than the 1000 that a trained file may have"):
        read_trained(path)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, network: nn.Module, frames: list[Any]) -> None:
    def refused(says: str, arguments: Any = ARGUMENTS, card: ModelCard = CARD, shown: Any = frames) -> None:
        with pytest.raises(ModelError, match=says):
            save_trained(tmp_path / "x.safetensors", network, "surface", arguments, card, shown)

    refused(r"'classes' must be in 0 \.\. 256", {**ARGUMENTS, "classes": 300})
    refused("expected 1 .. 4096 calibration frames, got 0", shown=[])
    refused(r"calibration frames must be uint8 \(64, 96, 3\), got uint8 \(32, 96, 3\)", shown=[frames[0][:32]])
    refused(r"got float64 \(64, 96, 3\)", shown=[frames[0].astype(float)])
    refused(r"must be uint8 \(64, 64, 3\)", card=replace(CARD, input_shape=(3, 64, 64)))
    assert list(tmp_path.iterdir()) == []


def test_grey_frames_come_back_with_their_channel(tmp_path: Path) -> None:
    card = ModelCard("grey", "anomaly", (1, 8, 6), "gray", (0.5,), (0.5,), "stretch")
    frame = np.arange(48, dtype=np.uint8).reshape(8, 6, 1)
    data = trained._encode(tmp_path, frame, card)

    assert np.array_equal(
        trained._decode(tmp_path, "x", torch.frombuffer(bytearray(data), dtype=torch.uint8), card), frame
    )
