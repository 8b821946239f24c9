"""Networks with pictures to calibrate on and others to judge on; what has to be trained is trained once and kept."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import nn

from edgecnn import models
from edgecnn.composer.source import OWN_FRAMES, Expectation, open_model
from edgecnn.graph import import_torch
from edgecnn.manifest import Resize
from edgecnn.models.checkpoint import load_checkpoint, save_checkpoint
from edgecnn.vision.frames import list_images
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image
from edgecnn.vision.synthetic.surfaces import calibration_frames, labelled_frames
from tests.end_to_end.digits import MEAN, STD, read_digits, train
from tests.end_to_end.hard_case import VARIANTS, network
from tests.quant.networks import settled

PROJECT = Path(__file__).resolve().parent.parent
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
EPOCHS = 8
RANDOM_SIZE = 96
SURE, CLASSES = 0.4, 80
"""Score above which a class in a cell of the detector counts as a detection; how many classes it has."""
Frame = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A float network and its pictures.

    Attributes:
        model: As imported.
        expects: What it expects of its input.
        calibration: Frames (H, W, C) at the model's size.
        evaluation: The same, none of them in ``calibration``.
        labels: Class of every evaluation frame; None where nobody knows.
        agreement: Share of equal decisions from all outputs of the float and of the integer network, (images, ...)
            each.
    """

    model: ir.Model
    expects: Expectation
    calibration: Sequence[Frame]
    evaluation: Sequence[Frame]
    labels: npt.NDArray[np.int64] | None
    agreement: Callable[[list[Values], list[Values]], float]


@dataclass(frozen=True)
class Place:
    """Where data lie and where trained weights are kept, and how many pictures to take at most of each kind."""

    data: Path
    work: Path
    samples: int


def same_class(reference: list[Values], values: list[Values]) -> float:
    """Share of pictures with the same most likely class, by the first output."""
    return float(np.mean(reference[0].argmax(1) == values[0].argmax(1)))


def same_detections(reference: list[Values], values: list[Values]) -> float:
    """Share of detections that both make, of all that either makes (Jaccard index); boxes are left out."""
    first, second = (
        np.concatenate([array > SURE for array in arrays if array.shape[-1] == CLASSES], axis=1)
        for arrays in (reference, values)
    )
    return float((first & second).sum() / max((first | second).sum(), 1))


def detector(place: Place) -> Case:
    """NanoDet with its real weights, on photographs; it was trained on BGR."""
    expects = Expectation(IMAGENET[0][::-1], IMAGENET[1][::-1], "bgr", Resize("letterbox"))
    photos = [list_images(place.data / "imagenet" / folder)[: place.samples] for folder in ("calibration", "val")]
    fit = Preprocess((320, 320), 3, expects.resize)
    calibration, evaluation = ([fit(read_image(path)) for path in paths] for paths in photos)
    model = open_model(str(place.data / "models" / "nanodet-320.onnx")).model
    return Case(model, expects, calibration, evaluation, None, same_detections)


def resnet20(place: Place) -> Case:
    """ResNet-20 with its real weights; half of the pictures each."""
    arch = f"{PROJECT / 'examples' / 'arch_resnet20.py'}:resnet20"
    source = open_model(str(place.data / "models" / "cifar10-resnet20.th"), (1, 3, 32, 32), arch)
    with (place.data / "cifar10" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    frames = [read_image(place.data / "cifar10" / row["image"]) for row in rows]
    labels, half = np.asarray([int(row["label"]) for row in rows]), len(rows) // 2
    known, judged = slice(min(half, place.samples)), slice(half, half + place.samples)
    return Case(source.model, Expectation(*IMAGENET), frames[known], frames[judged], labels[judged], same_class)


def _of_digits(module: nn.Module, place: Place, name: str) -> Case:
    known, unseen = read_digits(place.data / "mnist")
    frames, labels = unseen.frames[: place.samples], unseen.labels[: place.samples]
    model = import_torch(module, (1, 1, 28, 28), name)
    return Case(
        model,
        Expectation((MEAN,), (STD,), "gray"),
        list(known.frames[: place.samples]),
        list(frames),
        labels,
        same_class,
    )


def convnet(place: Place) -> Case:
    """The built-in classifier of digits, trained on half of them."""
    module, path = models.build("convnet"), place.work / "convnet-digits.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        save_checkpoint(train(models.build("convnet"), read_digits(place.data / "mnist")[0], EPOCHS), path)
    load_checkpoint(module, path)
    return _of_digits(module, place, "convnet")


def defect(place: Place) -> Case:
    """The built-in defect model with its shipped weights, on surfaces that it was not trained on."""
    source = open_model("defect")
    calibration = list(calibration_frames(min(place.samples, OWN_FRAMES)))
    frames, labels = zip(*labelled_frames(place.samples), strict=True)
    return Case(source.model, source.expects, calibration, frames, np.asarray(labels), same_class)


def _random(name: str, place: Place) -> Case:
    """A large built-in with random weights, its batch norms settled: no decisions, but noise adds up all the same."""
    torch.manual_seed(0)
    module = settled(models.build(name), RANDOM_SIZE)
    fit = Preprocess((RANDOM_SIZE, RANDOM_SIZE), 3, Resize("crop"))
    photos = [list_images(place.data / "imagenet" / folder)[: place.samples] for folder in ("calibration", "val")]
    calibration, evaluation = ([fit(read_image(path)) for path in paths] for paths in photos)
    model = import_torch(module, (1, 3, RANDOM_SIZE, RANDOM_SIZE), name)
    return Case(model, Expectation(), calibration, evaluation, None, same_class)


def _digit_net(variant: str) -> Callable[[Place], Case]:
    return lambda place: _of_digits(network(variant), place, f"digit-net-{variant}")


CASES: dict[str, Callable[[Place], Case]] = {
    "nanodet-320": detector,
    "resnet20": resnet20,
    "convnet": convnet,
    "defect": defect,
    **{f"digit-net-{variant}": _digit_net(variant) for variant in VARIANTS},
    "mobilenetv2-random": lambda place: _random("mobilenetv2", place),
    "resnet18-random": lambda place: _random("resnet18", place),
}
