"""The job ``lane``: sources, drawn roads, sides and kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgecnn.train.data import split
from edgecnn.train.job import Plan
from edgecnn.train.jobs import lane
from tests.train.jobs.folders import roads

PLAN = Plan(size=(96, 160), batch=6)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> lane.LaneJob:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "ROADS", 2)
        patch.setattr(lane, "VIEWS", 2)
        data = roads(tmp_path_factory.mktemp("lane") / "data")
        return lane.job(*split(data, 0.34, PLAN.seed), PLAN)


def test_a_batch_depends_on_the_step_alone(job: lane.LaneJob) -> None:
    first, again, other = job.batch(3), job.batch(3), job.batch(4)

    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_a_side_is_the_sum_of_its_markings(job: lane.LaneJob) -> None:
    pictures, markings, sides = job.batch(0)

    assert pictures.shape == (6, 3, 96, 160)
    assert markings.shape == (6, 4, 48, 80)
    torch.testing.assert_close(sides[:, 0], markings[:, 0] + markings[:, 1])
    torch.testing.assert_close(sides[:, 1], markings[:, 2] + markings[:, 3])
    assert sides.amax() == 1.0


def test_the_loss_rewards_side_and_kind(job: lane.LaneJob) -> None:
    batch = job.batch(0)
    exact = 30.0 * (2 * batch[1] - 1)

    class Said(torch.nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return self.logits

    own = job.network
    losses = []
    for logits in (exact, exact[:, [1, 0, 3, 2]], exact[:, [2, 3, 0, 1]]):
        job.network = Said(logits)
        losses.append(float(job.loss(batch)))
    job.network = own

    assert losses[0] < losses[1] < losses[2]


def test_validation_finds_the_markings_and_keeps_the_best_threshold(job: lane.LaneJob) -> None:
    job.network.eval()
    found = job.validate()
    card, frames = job.finish()

    assert set(found.figures) >= {"F1", "precision", "recall"}
    assert found.score == found.figures["F1"] > 0.5
    assert card.task == "lane"
    assert card.labels == ("left dashed", "left solid", "right dashed", "right solid")
    assert card.decoding["mark_threshold"] in lane.THRESHOLDS
    assert {frame.shape for frame in frames} == {(96, 160, 3)}


def test_long_sources_are_shown_more_often_but_not_as_often_as_they_are_long(tmp_path: Path) -> None:
    data = roads(tmp_path / "data", sources=2, views=9)
    kept = data.with_samples(item for item in data.samples if item.group == "road0" or item.image.name == "1-0.png")
    photographs = lane.Photographs(kept, (96, 160))
    rare = photographs._pictures[len(kept.samples) - 1][0]
    rng = np.random.default_rng(0)
    share = np.mean([np.array_equal(photographs.draw(rng)[0], rare) for _ in range(400)])

    assert share == pytest.approx(1 / 4, abs=0.07)
