"""The jobs ``defect`` and ``anomaly``: what they learn from, what they measure, what their cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgecnn.errors import DataError
from edgecnn.train.data import Dataset, split
from edgecnn.train.job import Plan
from edgecnn.train.jobs import anomaly, defect
from tests.train.jobs.folders import inspected

PLAN = Plan(size=(64, 64), batch=8)


def parts(data: Dataset) -> tuple[Dataset, Dataset]:
    """Return what to learn from, and what to validate on."""
    return split(data, 0.4, PLAN.seed)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> defect.DefectJob:
    return defect.job(*parts(inspected(tmp_path_factory.mktemp("defect"))), PLAN)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> anomaly.AnomalyJob:
    return anomaly.job(*parts(inspected(tmp_path_factory.mktemp("anomaly"), "anomaly")), PLAN)


def test_a_batch_depends_on_the_step_alone(examples: defect.DefectJob, sound: anomaly.AnomalyJob) -> None:
    for job in (examples, sound):
        first, again, other = job.batch(3), job.batch(3), job.batch(4)
        assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
        assert not torch.equal(first[0], other[0])


def test_half_of_a_batch_is_sound_and_masks_say_where_the_rest_is_not(examples: defect.DefectJob) -> None:
    pictures, covered, known, labels = examples.batch(0)

    assert pictures.shape == (8, 3, 64, 64)
    assert covered.shape == (8, 1, 32, 32)
    assert labels[0::2].tolist() == [0, 0, 0, 0]
    assert known.tolist() == [[1.0]] * 8
    assert ((covered.amax(dim=(1, 2, 3)) > 0) == (labels != 0)).all()


def test_both_kinds_of_defects_come_equally_often(examples: defect.DefectJob) -> None:
    labels = torch.cat([examples.batch(3 * step)[3][1::2] for step in range(60)])
    pits, stains, drawn = (float((labels == label).float().mean()) for label in (1, 2, defect.NO_CLASS))

    assert examples.labels == ("good", "pit", "stain")
    assert pits == pytest.approx(stains, abs=0.12)
    assert drawn == pytest.approx(defect.DRAWN, abs=0.1)
    assert pits + stains + drawn > 0.95


def test_learning_lowers_the_loss_and_thresholds_travel_in_the_card(examples: defect.DefectJob) -> None:
    optimiser = torch.optim.AdamW(examples.network.parameters(), 2e-3)
    examples.network.train()
    losses = []
    for step in range(24):
        optimiser.zero_grad()
        loss = examples.loss(examples.batch(step))
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    examples.network.eval()
    found = examples.validate()
    card, frames = examples.finish()

    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    assert set(found.figures) == {"image AUROC", "image AP", "pixel F1", "class accuracy"}
    assert found.confusion is not None
    assert found.confusion.labels == card.labels == ("good", "pit", "stain")
    assert card.task == "defect"
    assert card.input_shape == (3, 64, 64)
    assert not card.thresholds
    assert set(card.decoding) == {"threshold", "pixel_threshold", "peak_pixels", "smallest_region"}
    assert 0 < float(card.decoding["threshold"]) < 1
    assert {frame.shape for frame in frames} == {(64, 64, 3)}


def test_without_masks_classes_and_the_map_are_learned_from_labels(tmp_path: Path) -> None:
    job = defect.job(*parts(inspected(tmp_path, masks=False)), PLAN)
    _, _, known, labels = job.batch(1)
    loss = job.loss(job.batch(1))

    assert known[labels > 0].sum() == 0
    assert torch.isfinite(loss)


def test_nothing_to_tell_apart_is_refused(tmp_path: Path) -> None:
    data = inspected(tmp_path)
    sound = data.with_samples(item for item in data.samples if item.label == "good")
    with pytest.raises(DataError, match="sound parts and defective ones are needed"):
        defect.job(sound, data, PLAN)


def test_anomalies_are_learned_from_sound_parts_alone(sound: anomaly.AnomalyJob) -> None:
    pictures, covered = sound.batch(0)
    changed = covered.amax(dim=(1, 2, 3)) > 0

    assert pictures.shape == (8, 3, 64, 64)
    assert not changed[0::2].any()
    assert changed[1::2].sum() >= 3


def test_the_threshold_keeps_to_the_wanted_false_rejects(sound: anomaly.AnomalyJob) -> None:
    sound.network.eval()
    found = sound.validate()
    card, frames = sound.finish()

    assert card.labels == ("good", "anomaly")
    assert set(card.decoding) == {"threshold", "pixel_threshold", "peak_pixels", "smallest_region"}
    assert "image AUROC (made defects)" in found.figures
    assert "image AUROC" in found.figures
    assert found.score == pytest.approx(np.mean([value for key, value in found.figures.items() if "made" in key]))
    assert len(frames) >= 8
    assert {frame.shape for frame in frames} == {(64, 64, 3)}


def test_no_sound_part_is_refused(tmp_path: Path) -> None:
    data = inspected(tmp_path, "anomaly")
    with pytest.raises(DataError, match="sound parts are needed"):
        anomaly.job(data.with_samples(item for item in data.samples if item.label != "good"), data, PLAN)
