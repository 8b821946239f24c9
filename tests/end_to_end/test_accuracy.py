"""What INT8 keeps of trained networks' decisions on ONNX Runtime; equal requests, equal bundles; bounded memory."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgecnn import models
from edgecnn.affine import dequantise
from edgecnn.composer.source import open_model
from edgecnn.export import artefact
from edgecnn.graph import import_torch
from edgecnn.integer_graph import Array
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import Recipe, load_recipe, recipes
from edgecnn.runtime.evaluation.statistics import agreement, sqnr_db
from edgecnn.vision.read import read_image
from tests.end_to_end import digits, hard_case
from tests.quant.networks import SmallMobileNet, in_normal_form, settled

NEAREST = Recipe("nearest", "", "minmax", "minmax", False)
DEFAULT = load_recipe("default")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ALLOWED_DROP = 0.003
"""0.3 points of accuracy."""
QUICK = ("fast", "default")
EVERY_RECIPE = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in recipes()]
MOST_GROWTH = 32 << 20
"""Bytes by which the peak may differ between runs; 350 more pictures, kept with their activations, would be 150 MB."""
MOST_MEMORY = 2 << 30
EXPORT = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
from edgecnn.cli import app
sys.exit(app.main(sys.argv[2:]))
"""
PEAK = """
import resource, sys
import numpy, onnx_ir
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import load_recipe
model, recipe, count = sys.argv[1:]
random = numpy.random.default_rng(0)
frames = (random.integers(0, 256, (64, 64, 3), dtype=numpy.uint8) for _ in range(int(count)))
print(quantise(onnx_ir.load(model), frames, load_recipe(recipe)).images)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@dataclass(frozen=True)
class Pictures:
    """Frames to calibrate on, frames to judge on, and the classes of the latter."""

    calibration: Sequence[Array]
    judged: Sequence[Array]
    labels: npt.NDArray[np.int64]


def network_of(model: ir.Model, mean: Sequence[float], std: Sequence[float], color: str) -> ir.Model:
    """Rewrite an imported network as a build does."""
    normalise(model)
    FrameInput(mean, std, color)(model)
    FrameOutput()(model)
    return model


def of_digits(module: nn.Module) -> ir.Model:
    return network_of(import_torch(module, (1, 1, 28, 28)), [digits.MEAN], [digits.STD], "gray")


def float_logits(model: ir.Model, frames: Sequence[Array]) -> Array:
    runner = FloatModel(model)
    return np.concatenate([runner({"frame": frame[None]})[0] for frame in frames])


def integer_logits(model: ir.Model, recipe: Recipe, pictures: Pictures) -> Array:
    graph = quantise(model.clone(), pictures.calibration[: recipe.samples or None], recipe).graph
    with artefact.opened("onnxruntime", graph) as engine:
        integers = np.concatenate([engine.run([frame[None]])[0] for frame in pictures.judged])
    return dequantise(integers, graph.spec(graph.outputs[0]).grid)


def right(logits: Array, labels: Array) -> float:
    return float(np.mean(logits.argmax(1) == labels))


def kept(model: ir.Model, recipe: Recipe, pictures: Pictures) -> float:
    """Return the share of the float network's decisions that INT8 keeps."""
    wanted = float_logits(model, pictures.judged)
    return agreement(wanted.argmax(1), integer_logits(model, recipe, pictures).argmax(1))


@cache
def handwriting(folder: Path, count: int) -> Pictures:
    """Return digits that the networks were trained on to calibrate on, and the first ``count`` of those that not."""
    known, unseen = digits.read_digits(folder)
    return Pictures(list(known.frames[:100]), list(unseen.frames[:count]), unseen.labels[:count])


@pytest.fixture
def some_digits(data_dir: Path) -> Pictures:
    return handwriting(data_dir / "mnist", 1000)


@pytest.fixture(scope="module")
def objects(data_dir: Path) -> tuple[list[Array], Array]:
    """Return the pictures of CIFAR-10 that are there, uint8 (32, 32, 3) each, and their classes."""
    with (data_dir / "cifar10" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    frames = [read_image(data_dir / "cifar10" / row["image"]) for row in rows]
    return frames, np.asarray([int(row["label"]) for row in rows])


@pytest.fixture(scope="module")
def resnet20(data_dir: Path, project_root: Path) -> ir.Model:
    arch = f"{project_root / 'examples' / 'arch_resnet20.py'}:resnet20"
    source = open_model(str(data_dir / "models" / "cifar10-resnet20.th"), (1, 3, 32, 32), arch)
    return network_of(source.model, *IMAGENET, "rgb")


HARD = ("bottlenecks", "relu6", "everywhere")


@pytest.mark.data
@pytest.mark.parametrize("variant", HARD)
def test_a_hard_network_decides_as_the_one_it_was_made_from(variant: str, some_digits: Pictures):
    plain, hard = (float_logits(of_digits(hard_case.network(name)), some_digits.judged) for name in ("plain", variant))
    assert right(plain, some_digits.labels) > 0.97
    assert agreement(plain.argmax(1), hard.argmax(1)) > 0.998


@pytest.mark.parametrize("variant", HARD)
def test_a_hard_network_has_one_channel_a_hundred_times_larger(variant: str):
    plain, hard = (_scales(hard_case.network(name)) for name in ("plain", variant))
    ratios = [(after[0] / before[0]) / (after[1] / before[1]) for before, after in zip(plain, hard, strict=True)]
    assert {round(float(ratio)) for ratio in ratios} in ({1, 100}, {100})


def test_dead_channels_stay_dead_in_training():
    for block in hard_case.network().wide():
        for convolution, norm in (block[0][:2], block[1][:2]):
            assert not convolution.weight[-hard_case.DEAD :].any()
            assert not norm.weight[-hard_case.DEAD :].any()
            assert not norm.bias[-hard_case.DEAD :].any()


def _scales(network: hard_case.DigitNet) -> list[torch.Tensor]:
    """Return the batch norm factors that scale each bottleneck, and each tensor behind the first ReLU6 of a block."""
    return [norm.weight.detach() for block in network.wide() for norm in (block[0][1], block[3])]


@pytest.mark.data
@pytest.mark.parametrize("variant", HARD)
def test_a_hard_network_keeps_99_percent_where_nearest_min_max_falls_below_90(variant: str, some_digits: Pictures):
    model = of_digits(hard_case.network(variant))
    plain, ours = (kept(model, recipe, some_digits) for recipe in (NEAREST, DEFAULT))
    assert plain < 0.90
    assert ours >= 0.99


@pytest.mark.data
@pytest.mark.parametrize("recipe", EVERY_RECIPE)
def test_a_small_mobilenet_stays_within_a_third_of_a_point(recipe: str, data_dir: Path):
    model, pictures = of_digits(hard_case.network()), handwriting(data_dir / "mnist", digits.HALF)
    before = right(float_logits(model, pictures.judged), pictures.labels)
    after = right(integer_logits(model, load_recipe(recipe), pictures), pictures.labels)
    assert after >= before - ALLOWED_DROP


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_convnet_trained_on_half_of_the_digits_stays_within_a_third_of_a_point(recipe: str, data_dir: Path):
    model, pictures = of_digits(trained_convnet(data_dir / "mnist")), handwriting(data_dir / "mnist", digits.HALF)
    before = right(float_logits(model, pictures.judged), pictures.labels)
    assert before > 0.97
    after = right(integer_logits(model, load_recipe(recipe), pictures), pictures.labels)
    assert after >= before - ALLOWED_DROP


@cache
def trained_convnet(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    return digits.train(models.build("convnet"), digits.read_digits(folder)[0], epochs=4)


@pytest.mark.data
def test_resnet20_beats_nearest_min_max(resnet20: ir.Model, objects: tuple[list[Array], Array]):
    frames, labels = objects
    pictures = Pictures(frames[:100], frames[500:700], labels[500:700])
    wanted = float_logits(resnet20, pictures.judged)
    ours, plain = (integer_logits(resnet20, recipe, pictures) for recipe in (DEFAULT, NEAREST))
    assert sqnr_db(wanted, ours) > sqnr_db(wanted, plain)
    assert agreement(wanted.argmax(1), ours.argmax(1)) >= 0.975


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_resnet20_stays_within_a_third_of_a_point(recipe: str, resnet20: ir.Model, objects: tuple[list[Array], Array]):
    """Each half is judged by the network that was calibrated on the other: all pictures count, none was seen."""
    frames, labels = objects
    half = len(frames) // 2
    first = Pictures(frames[half:], frames[:half], labels[:half])
    second = Pictures(frames[:half], frames[half:], labels[half:])
    after = np.concatenate([integer_logits(resnet20, load_recipe(recipe), part) for part in (first, second)])
    before = right(float_logits(resnet20, frames), labels)
    assert right(after, labels) >= before - ALLOWED_DROP


def exported(request_line: Sequence[str], recipe: str, output: Path, threads: int, hash_seed: int) -> dict[str, str]:
    """Build a bundle in a process of its own; return the digest of every file in it."""
    environment = dict(os.environ, PYTHONHASHSEED=str(hash_seed), OMP_NUM_THREADS=str(threads))
    environment |= {"OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    line = [sys.executable, "-c", EXPORT, str(threads), *request_line, "--recipe", recipe, "-o", str(output)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = sorted(path for path in output.rglob("*") if path.is_file())
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_the_same_request_gives_the_same_bundle(recipe: str, request_line: list[str], tmp_path: Path):
    """Whatever the number of threads and the seed of Python's hashes."""
    first = exported(request_line, recipe, tmp_path / "a" / "bundle", threads=1, hash_seed=1)
    second = exported(request_line, recipe, tmp_path / "b" / "bundle", threads=2, hash_seed=2)
    assert "manifest.json" in first
    assert first == second


def peak(model: Path, recipe: str, images: int) -> int:
    """Return the peak memory in bytes of a process that quantises with so many calibration images."""
    line = [sys.executable, "-c", PEAK, str(model), recipe, str(images)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    walked, memory = (json.loads(row) for row in done.stdout.split())
    assert walked == images
    return int(memory)


@pytest.mark.parametrize("recipe", EVERY_RECIPE)
def test_memory_does_not_grow_with_the_number_of_images(recipe: str, tmp_path: Path):
    torch.manual_seed(0)
    ir.save(in_normal_form(settled(SmallMobileNet(), 64), 64), tmp_path / "model.onnx")
    few, many = (peak(tmp_path / "model.onnx", recipe, count) for count in (50, 400))
    assert many < few + MOST_GROWTH
    assert many < MOST_MEMORY
