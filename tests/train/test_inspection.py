"""Scores as the device computes them, and thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgecnn.affine import quantise
from edgecnn.manifest import EngineEntry, InputContract, Manifest, OutputContract, Provenance
from edgecnn.models import surface
from edgecnn.models.model_card import ModelCard
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.train import inspection
from edgecnn.train.surfaces import card
from edgecnn.vision.results import Output
from edgecnn.vision.surface import Inspector


def manifest_of(outputs: list[Output], trained: ModelCard) -> Manifest:
    """Return a manifest that says of the outputs what a trained card says."""
    return Manifest(
        name=trained.name,
        task=trained.task,
        input=InputContract(TensorSpec("frame", (1, 128, 128, 3), "uint8", QuantParams((1 / 255,), 0)), "bgr"),
        outputs=tuple(output.contract for output in outputs),
        engines=(EngineEntry("onnxruntime", "rpi", ("model.onnx",)),),
        provenance=Provenance("0", trained.name, "0" * 64, "fast", "0" * 64, 1),
        labels=trained.labels or (),
        decoding=trained.decoding,
    )


def test_the_score_is_the_devices() -> None:
    """The same map and vector, read by the job in float and by the device from integers on a fine grid."""
    rng = np.random.default_rng(0)
    found, classes = torch.from_numpy(rng.normal(0, 2, (1, 1, 64, 64))), torch.from_numpy(rng.normal(0, 2, (1, 4)))
    mine = torch.stack([inspection.peaks(found), inspection.of_classes(classes)]).mean()
    grid = QuantParams((16 / 255,), 128)
    outputs = [
        Output(
            OutputContract(TensorSpec(name, values.shape, "uint8", grid), layout, "logits"),
            quantise(values, grid, "uint8"),
        )
        for name, layout, values in (
            ("mask", "NHWC", found.permute(0, 2, 3, 1).numpy().astype(np.float32)),
            ("classes", "NC", classes.numpy().astype(np.float32)),
        )
    ]
    trained = card("defect", (128, 128), ("good", "a", "b", "c"), {"threshold": 0.5, "pixel_threshold": 0.5})
    decision = Inspector(manifest_of(outputs, trained))(outputs)

    assert decision.score == pytest.approx(inspection.probability(float(mine)), abs=0.01)


def test_a_score_is_the_mean_of_the_largest_thousandth() -> None:
    found = torch.zeros(1, 1, 100, 100)
    found[0, 0, 0, :5] = 10.0

    assert inspection.peak_pixels(100, 100) == 10
    assert inspection.peaks(found).tolist() == [5.0]
    assert inspection.peak_pixels(8, 8) == 4


def test_any_class_but_the_sound_one_is_a_defect() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [3.0, -40.0, 1.0]])

    assert inspection.of_classes(logits).tolist() == pytest.approx([math.log(2), -2.0])


def test_the_threshold_lies_in_the_widest_gap_that_separates_best() -> None:
    assert inspection.separating([-3.0, -2.0], [2.0, 4.0]) == pytest.approx(0.5)
    assert inspection.separating([-3.0, 1.0], [0.0, 6.0]) == pytest.approx(inspection.probability(3.5))


def test_without_both_kinds_there_is_nothing_to_separate() -> None:
    assert inspection.separating([1.0], []) == 0.5


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_false_rejects_come_as_often_as_wanted(share: float) -> None:
    """Over many sound parts drawn like the calibration's; the expectation is just below the share."""
    rng, rates = np.random.default_rng(1), []
    for _ in range(200):
        threshold = inspection.for_false_rejects(rng.normal(0, 1, 400).tolist(), share)
        limit = math.log(threshold) - math.log1p(-threshold)
        rates.append(float(np.mean(rng.normal(0, 1, 500) >= limit)))

    assert np.mean(rates) == pytest.approx(share, rel=0.15, abs=0.003)


def test_too_few_sound_parts_set_a_threshold_above_all_of_them() -> None:
    threshold = inspection.for_false_rejects([-2.0, -1.0, 0.0], 0.01)

    assert threshold == pytest.approx(inspection.probability(0.25))


def test_pixels_are_counted_at_the_size_of_the_mask() -> None:
    pixels = inspection.Pixels()
    found, mask = np.zeros((4, 4), np.uint8), np.zeros((8, 8), np.uint8)
    found[:2], mask[:4] = 200, 255
    pixels.add(found, mask)
    f1, threshold = pixels.best()

    assert f1 == pytest.approx(1.0)
    assert 0.1 < threshold < 0.8
    assert inspection.Pixels().best() == (0.0, 0.5)


def test_pictures_are_judged_one_after_the_other() -> None:
    torch.manual_seed(0)
    network = surface.network(64, 64, 3).eval()
    frames = list(np.random.default_rng(0).integers(0, 255, (18, 64, 64, 3)).astype(np.uint8))
    together, alone = list(inspection.judged(network, frames)), list(inspection.judged(network, frames[17:]))

    assert len(together) == 18
    assert together[17].logit == pytest.approx(alone[0].logit, abs=1e-4)
    assert together[17].classes.shape == (3,)
    assert together[17].defective.shape == (32, 32)
