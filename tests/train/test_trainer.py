"""The loop: repeatable to the bit, also across an interruption; it keeps the best, and stops where it must."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgecnn.errors import ModelError, OptionError
from edgecnn.train import trainer
from edgecnn.train.checkpoint import Row, State, Store
from edgecnn.train.job import Plan, Validation
from edgecnn.train.trainer import Progress, is_over, train
from tests.train.tiny import TinyJob, generated

CPU = torch.device("cpu")
PLAN = Plan(steps=12)


def weights(job: TinyJob) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in job.network.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def after(steps: int) -> Callable[[], bool]:
    """Return a ``stop`` that says True when it was asked ``steps`` times before."""
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


def trained(folder: Path, plan: Plan = PLAN, **options: object) -> tuple[TinyJob, State]:
    job = generated(plan)
    return job, train(job, plan, Store(folder, {"seed": plan.seed}), CPU, **options)


def test_it_learns_and_the_best_weights_are_in_the_network(tmp_path: Path) -> None:
    job, state = trained(tmp_path, Plan())

    assert [row.step for row in state.rows] == [6, 12, 18, 24]
    assert state.best_row.validation.figures["accuracy"] == 1.0
    assert state.best_row.validation.score == max(row.validation.score for row in state.rows)
    assert len(state.losses) == 24
    assert state.rows[-1].loss == pytest.approx(sum(state.losses[18:]) / 6)
    assert not job.network.training
    with torch.no_grad():
        assert job.validate() == state.best_row.validation


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    first, second = (trained(tmp_path / name)[0] for name in "ab")
    other = trained(tmp_path / "c", replace(PLAN, seed=1))[0]

    assert equal(weights(first), weights(second))
    assert not equal(weights(first), weights(other))


@pytest.mark.parametrize(("done", "average"), [(1, 0.0), (5, 0.0), (3, 0.9)])
def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path, done: int, average: float) -> None:
    plan = replace(PLAN, average=average)
    whole, expected = trained(tmp_path / "whole", plan)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", plan, stop=after(done))
    assert Store(tmp_path / "cut", {"seed": 0}).load().done == done
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", plan, stop=after(4))
    resumed, state = trained(tmp_path / "cut", plan)

    assert equal(weights(whole), weights(resumed))
    assert (state.losses, state.rows) == (expected.losses, expected.rows)


def test_a_kill_in_the_middle_of_a_step_costs_the_steps_since_the_checkpoint_alone(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole")

    class Dying(TinyJob):
        def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
            loss = super().loss(batch)
            self.count = getattr(self, "count", 0) + 1
            if self.count == 8:
                loss.backward()  # gradients are there, the step is not taken
                raise KeyboardInterrupt
            return loss

    dying = generated(PLAN)
    dying.__class__ = Dying
    store = Store(tmp_path / "cut", {"seed": 0})
    with pytest.raises(KeyboardInterrupt):
        train(dying, PLAN, store, CPU)
    assert store.load().done == 6  # the validation before
    resumed, _ = trained(tmp_path / "cut")

    assert equal(weights(whole), weights(resumed))


def test_the_moving_average_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path / "plain")
    averaged, state = trained(tmp_path / "averaged", replace(PLAN, average=0.9))

    assert not equal(weights(plain), weights(averaged))
    assert equal(weights(averaged), state.best)
    assert state.losses == trained(tmp_path / "again")[1].losses  # learning itself is the same


def test_a_training_that_is_done_is_not_repeated(tmp_path: Path) -> None:
    first, _ = trained(tmp_path)
    seen: list[Progress] = []
    second, _ = trained(tmp_path, watch=seen.append)

    assert seen == []
    assert equal(weights(first), weights(second))


@pytest.mark.parametrize("broken", ["loss", "gradients"])
def test_a_loss_that_is_no_number_ends_training_and_the_checkpoint_stays(tmp_path: Path, broken: str) -> None:
    class Diverging(TinyJob):
        def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
            loss = super().loss(batch)
            self.count = getattr(self, "count", 0) + 1
            if self.count < 9:
                return loss
            # The root's slope at 0 is infinite, its value is not.
            return loss * math.nan if broken == "loss" else loss + (loss - loss.detach()).abs().sqrt()

    job, store = generated(PLAN), Store(tmp_path, {"seed": 0})
    job.__class__ = Diverging
    with pytest.raises(ModelError, match=r"diverged in step 9.*--rate.*checkpoint.pt holds the weights from before"):
        train(job, PLAN, store, CPU)
    kept = store.load()

    assert kept.done == 6
    assert all(bool(torch.isfinite(value).all()) for value in kept.network.values())


def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    class Blind(TinyJob):
        def validate(self) -> Validation:
            return Validation(math.nan)

    job = generated(PLAN)
    job.__class__ = Blind
    with pytest.raises(ModelError, match="the validation's score is nan"):
        train(job, PLAN, Store(tmp_path, {}), CPU)


def test_training_ends_where_the_score_does_not_rise(tmp_path: Path) -> None:
    class Flat(TinyJob):
        def validate(self) -> Validation:
            return Validation(0.5)

    plan = Plan(steps=24)
    job = generated(plan)
    job.every = 2
    job.__class__ = Flat
    state = train(job, plan, Store(tmp_path, {}), CPU)

    # The first of 12 validations is the best; half of them, 6, bring nothing more.
    assert (state.done, len(state.rows)) == (14, 7)
    assert state.best_row.step == 14  # of equal scores the last


def test_behind_the_middle_it_goes_on_to_the_end() -> None:
    rows = [Row(step, 0.0, 0.0, Validation(0.5)) for step in range(1, 13)]

    assert [is_over(State(20, 1, done=done, rows=rows)) for done in (13, 14, 19, 20)] == [True, False, False, True]
    assert not is_over(State(20, 1, done=10, rows=rows[:10]))  # nine bring nothing, ten must


def test_what_batch_raises_comes_out(tmp_path: Path) -> None:
    class Empty(TinyJob):
        def batch(self, step: int) -> tuple[Tensor, ...]:
            if step == 3:
                raise ModelError("picture 7 is gone")
            return super().batch(step)

    job = generated(PLAN)
    job.__class__ = Empty
    with pytest.raises(ModelError, match="picture 7 is gone"):
        train(job, PLAN, Store(tmp_path, {}), CPU)


def test_a_time_plans_as_many_steps_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.planning, "MEASURED_STEPS", 3)
    seen: list[Progress] = []
    job, state = trained(tmp_path / "long", Plan(seconds=600.0), watch=seen.append)

    assert (state.steps, state.every) == (24, 6)
    assert "all 24 steps fit into 600 s" in next(item.remark for item in seen if item.remark)
    # What was measured has left no trace: the same as without.
    assert equal(weights(job), weights(trained(tmp_path / "whole", Plan())[0]))


def test_a_checkpoint_keeps_the_planned_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.planning, "MEASURED_STEPS", 3)
    monkeypatch.setattr(trainer.planning, "measure", lambda *arguments: trainer.planning.Speed(1.0, 1.0))
    plan = Plan(seconds=20.5)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, plan, stop=after(2))
    monkeypatch.setattr(trainer.planning, "measure", lambda *arguments: pytest.fail("it was measured again"))
    _, state = trained(tmp_path, plan)

    assert state.steps == 16  # 20.5 s, less a validation to finish, less three on the way
    assert [row.step for row in state.rows] == [6, 12, 16]


def test_another_training_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(OptionError, match=r"another training: seed 0 instead of 1\. .*--fresh"):
        trained(tmp_path, replace(PLAN, seed=1))
