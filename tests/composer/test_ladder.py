"""Whole builds with an accuracy budget, of a network that quick recipes spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from edgecnn import exact_sums
from edgecnn.composer import Request, budget, build, open_model, rung
from edgecnn.errors import DataError, OptionError
from edgecnn.recipe import Recipe, load_recipe
from edgecnn.report.document import Report, check
from edgecnn.runtime.bundle import Bundle
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files
from tests.end_to_end import stripes

IMAGES = 300
STRETCH = 300.0
SMALLEST = 0.009
"""The smallest budget, rounded, that so many pictures can show."""


@torch.no_grad()
def stretch(unit: stripes.Unit, reader: torch.nn.Conv2d) -> None:
    """Divide all channels but one behind a ReLU6: below 6 that keeps what is computed, but not what 8 bits make of it.

    Args:
        unit: The layer; its largest channel decides about the range of all.
        reader: The only convolution that reads it; its weights are multiplied.
    """
    others = torch.arange(unit[1].num_features) != 0
    unit[1].weight[others] /= STRETCH
    unit[1].bias[others] /= STRETCH
    reader.weight[:, others] *= STRETCH


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trained network, a stretched one, and labelled pictures."""
    root = tmp_path_factory.mktemp("budget")
    network = stripes.trained()
    torch.save(network.state_dict(), root / "plain.pth")
    stretch(network.separable[0], network.separable[1][0])
    stretch(network.residual[0], network.residual[1][0])
    torch.save(network.state_dict(), root / "stretched.pth")
    rng = np.random.default_rng(5)
    for index in range(IMAGES):
        place = root / "eval" / stripes.LABELS[index % 4]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{index}.png"), stripes.picture(rng, index % 4))
    return root


@pytest.fixture
def make(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Return a function that exports one of the networks to ``tmp_path/bundle`` with a ladder of two steps."""
    monkeypatch.setattr(budget, "ladder", lambda: ["fast", "default"])
    monkeypatch.setattr(budget, "load_recipe", crude)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    def run(network: str, max_drop: float | None, progress: object = None, **changes: object) -> Report:
        arch = f"{stripes.__file__}:build"
        source = open_model(str(folder / f"{network}.pth"), (1, 3, stripes.SIZE, stripes.SIZE), arch)
        expects = replace(source.expects, mean=stripes.MEAN, std=stripes.STD, labels=stripes.LABELS)
        asked = Request(source, expects, ("rpi",), Frames(frames()), None, folder / "eval", True, max_drop)
        return build(replace(asked, **changes), tmp_path / "bundle", progress or (lambda stage, steps: None))

    return run


Make = Callable[..., Report]


def crude(name: str) -> Recipe:
    """Return a recipe; ``fast`` with nothing but min-max, so that there is something to climb over."""
    recipe = load_recipe(name)
    plain = replace(recipe, activation_observer="minmax", weight_range="minmax", bias_correction=False, judged=False)
    return plain if name == "fast" else recipe


def frames(count: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(6)
    return [stripes.picture(rng, index % 4) for index in range(count)]


@pytest.fixture
def between(make: Make) -> float:
    """Return a budget that the stretched network keeps with the second step, but not with the first."""
    first, second = make("stretched", SMALLEST)["budget"]["steps"]
    assert first["high"] > second["high"] + 0.02
    return (first["high"] + second["high"]) / 2


@pytest.fixture
def unrepaired(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take equalisation out of the recipes, which would repair the stretched network altogether."""
    monkeypatch.setattr(budget, "load_recipe", lambda name: replace(crude(name), equalise=False, judged=False))


def everything(bundle: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in bundle.iterdir()}


def test_a_budget_that_the_first_step_keeps(make: Make) -> None:
    report = make("plain", 0.015)
    found = check(report)["budget"]
    assert [step["recipe"] for step in found["steps"]] == ["fast"]
    assert (found["recipe"], found["holds"], found["labelled"], found["engine"]) == ("fast", True, True, "onnxruntime")
    assert found["steps"][0]["images"] == IMAGES
    assert report["calibration"]["recipe"] == "fast"


def test_a_network_that_the_first_step_spoils_is_climbed_with(make: Make, tmp_path: Path, between: float) -> None:
    stages: list[str] = []
    report = make("stretched", between, lambda stage, steps: stages.append(stage))
    first, second = report["budget"]["steps"]
    assert (first["recipe"], first["holds"], second["recipe"], second["holds"]) == ("fast", False, "default", True)
    assert report["calibration"]["recipe"] == report["budget"]["recipe"] == "default"
    paired = report["decisions"]["paired"]
    assert (paired["lost"], paired["gained"], paired["images"]) == (second["lost"], second["gained"], IMAGES)
    counts = {"fast: calibrating": 32, "fast: evaluating": IMAGES, "default: evaluating": IMAGES, "evaluating": IMAGES}
    assert {name: stages.count(name) for name in counts} == counts
    # The step before left nothing behind: the bundle is that of the recipe alone, but for the report.
    climbed_to = everything(tmp_path / "bundle")
    make("stretched", None, recipe="default")
    alone = everything(tmp_path / "bundle")
    assert {name for name in alone if alone[name] != climbed_to[name]} == {
        "manifest.json",
        "report.json",
        "report.html",
    }


@pytest.mark.usefixtures("unrepaired")
def test_a_budget_that_nothing_keeps_gives_the_nearest(make: Make, tmp_path: Path) -> None:
    found = make("stretched", SMALLEST)["budget"]
    assert (found["recipe"], found["holds"], len(found["steps"])) == ("default", False, 2)
    assert "No recipe keeps the budget of 0.9 points. 'default' comes nearest" in found["verdict"]
    with Bundle.open(tmp_path / "bundle") as bundle:
        assert bundle.manifest.provenance.recipe == "default"


@pytest.mark.usefixtures("unrepaired")
def test_a_step_that_breaks_off_costs_nothing_of_what_was_found_before(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "ladder", lambda: ["default"])
    make("stretched", SMALLEST)
    expected = everything(tmp_path / "bundle")
    quantise = rung.quantise

    def breaking(model: ir.Model, pictures: Iterator[np.ndarray], tried: Recipe, *rest: object) -> object:
        if tried.name == "best":
            next(pictures)
            raise RuntimeError("out of memory")
        return quantise(model, pictures, tried, *rest)

    monkeypatch.setattr(rung, "quantise", breaking)
    monkeypatch.setattr(budget, "ladder", lambda: ["default", "best"])
    report = check(make("stretched", SMALLEST))
    assert [step["recipe"] for step in report["budget"]["steps"]] == ["default"]
    assert report["budget"]["failed"] == [{"recipe": "best", "reason": "RuntimeError: out of memory"}]
    found = everything(tmp_path / "bundle")
    assert b'<span class="badge small bad">failed</span>' in found["report.html"]
    assert {name for name in found if found[name] != expected[name]} == {"manifest.json", "report.json", "report.html"}


@pytest.mark.usefixtures("unrepaired")
def test_a_worse_step_is_not_taken_and_a_one_time_iterator_gives_the_same_bundle(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(budget, "ladder", lambda: ["default", "fast"])
    monkeypatch.setattr(exact_sums, "TOP", 15)  # weights so coarse that no step keeps the budget
    pictures = frames(70)
    report = make("stretched", SMALLEST, calibration=Frames(pictures))
    assert [step["recipe"] for step in report["budget"]["steps"]] == ["default", "fast"]
    assert (report["budget"]["recipe"], report["calibration"]["images"]) == ("default", 70)
    expected = everything(tmp_path / "bundle")
    make("stretched", SMALLEST, calibration=Frames(iter(pictures)))
    assert everything(tmp_path / "bundle") == expected


def test_a_recipe_that_rewrites_the_float_graph_leaves_it_to_the_next(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("stretched", None, recipe="default")
    expected = (tmp_path / "bundle" / "model.onnx").read_bytes()
    quantise = rung.quantise

    def rewriting(model: ir.Model, pictures: object, tried: Recipe, *rest: object) -> object:
        result = quantise(model, pictures, tried, *rest)
        for value in model.graph.initializers.values() if tried.name == "fast" else ():
            value.const_value = ir.tensor(np.zeros_like(value.const_value.numpy()), name=value.name)
        return result

    monkeypatch.setattr(rung, "quantise", rewriting)
    report = make("stretched", SMALLEST)
    assert report["budget"]["recipe"] == "default"
    assert (tmp_path / "bundle" / "model.onnx").read_bytes() == expected


def test_without_labels_changes_count(make: Make, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "eval", tmp_path / "eval", copy_function=shutil.copyfile)
    for name in stripes.LABELS:
        (tmp_path / "eval" / name).rename(tmp_path / "eval" / f"unknown-{name}")
    report = make("stretched", SMALLEST, evaluation=tmp_path / "eval")
    assert report["budget"]["labelled"] is False
    assert [step["gained"] for step in report["budget"]["steps"]] == [0, 0]
    for step in report["budget"]["steps"]:
        assert step["lost"] == round((1 - step["agreement"]) * IMAGES)


def test_nothing_is_left_of_a_climb_that_is_interrupted(make: Make, tmp_path: Path) -> None:
    def interrupt(stage: str, steps: int | None) -> None:
        if stage == "default: evaluating":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("stretched", SMALLEST, interrupt)
    assert [item.name for item in tmp_path.iterdir()] == ["temporary"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_too_few_pictures_are_refused_before_anything_is_folded(make: Make, tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.raises(DataError, match=r"takes at least 539 pictures to be kept for sure.*300 have a label"):
        make("plain", 0.005, lambda stage, steps: seen.append(stage))
    assert seen == []
    assert not (tmp_path / "bundle").exists()


def mask_model(path: Path) -> Path:
    return onnx_files.write(path, [helper.make_node("Relu", ["conv"], ["logits"])], output=(1, 4, 16, 16))


def one_score_model(path: Path) -> Path:
    body = [
        helper.make_node("GlobalAveragePool", ["conv"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    return onnx_files.write(path, body, kernel=onnx_files.weight()[:1], output=(1, 1))


def raw_model(path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["conv"], ["features"])]
    proto = onnx.load(onnx_files.write(path, nodes, end="features"))
    proto.graph.output.append(helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, (1, 4, 16, 16)))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    ("write", "says"),
    [(mask_model, "'segment' makes"), (one_score_model, "'classify' with a single score"), (raw_model, "'raw' makes")],
)
def test_tasks_that_decide_nothing_about_a_picture(
    tmp_path: Path, folder: Path, write: Callable[[Path], Path], says: str
) -> None:
    seen: list[str] = []
    source = open_model(str(write(tmp_path / "net.onnx")))
    asked = Request(source, source.expects, ("rpi",), Frames(frames()), None, folder / "eval", max_drop=0.015)
    with pytest.raises(OptionError, match=f"counts decisions about pictures, and a model for the task {says}"):
        build(asked, tmp_path / "bundle", lambda stage, steps: seen.append(stage))
    assert seen == ["folding"]


def test_inspections_count_verdicts(make: Make, folder: Path) -> None:
    arch = f"{stripes.__file__}:build"
    source = open_model(str(folder / "plain.pth"), (1, 3, stripes.SIZE, stripes.SIZE), arch)
    found = replace(source.expects, mean=stripes.MEAN, std=stripes.STD, labels=stripes.LABELS, task="defect")
    report = make("plain", 0.02, source=source, expects=replace(found, thresholds={"rising": 0.5, "falling": 0.5}))
    assert {item["int8"]["decision"] for item in report["decisions"]["pictures"]} == {"PASS", "REJECT"}
    (step,) = report["budget"]["steps"]
    paired = report["decisions"]["paired"]
    assert (step["lost"], step["gained"], step["images"]) == (paired["lost"], paired["gained"], IMAGES)
