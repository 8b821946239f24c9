"""How many steps fit into a time, the learning rate over them, and which values a plan may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgecnn.errors import OptionError
from edgecnn.train.job import Confusion, Plan
from edgecnn.train.optimiser import WEIGHT_DECAY, Average, Optimiser, rate_at
from edgecnn.train.plan import Schedule, Speed, fit, remark, schedule


@dataclass
class Own:
    """What of a job the planning looks at."""

    steps: int = 1000
    every: int = 100


JOB: Any = Own()


def test_without_a_time_the_steps_are_the_jobs_or_those_asked_for() -> None:
    assert schedule(JOB, Plan()) == Schedule(1000, 100)
    assert schedule(JOB, Plan(steps=50)) == Schedule(50, 5)
    assert schedule(JOB, Plan(steps=3)) == Schedule(3, 1)
    assert schedule(JOB, Plan(steps=3000)) == Schedule(3000, 300)


@pytest.mark.parametrize(
    ("speed", "seconds", "expected"),
    [
        (Speed(0.1, 1.0), 200, Schedule(1000, 100)),  # 100 s of steps and 10 of validations: all of it
        (Speed(0.1, 1.0), 60, Schedule(500, 50)),  # 10 validations take 10 s
        (Speed(0.1, 5.0), 60, Schedule(450, 150)),  # they may take a fifth of the time, but three there must be
        (Speed(0.1, 1.0), 0.5, Schedule(1, 1)),
    ],
)
def test_as_many_steps_as_fit(speed: Speed, seconds: float, expected: Schedule) -> None:
    assert fit(JOB, speed, seconds) == expected


@given(st.floats(1e-4, 10), st.floats(1e-3, 100), st.floats(30, 1e5))
def test_a_plan_fits_into_its_time(step: float, validation: float, seconds: float) -> None:
    found = fit(JOB, Speed(step, validation), seconds)
    taken = found.steps * step + -(-found.steps // found.every) * validation

    assert 1 <= found.steps <= 1000
    assert taken <= seconds * (1 + 1e-9) or found.steps == 1 or 3 * validation > seconds


def test_the_user_is_told_what_was_planned() -> None:
    speed = Speed(0.1, 1.0)

    assert remark(JOB, speed, Schedule(1000, 100), 200) == (
        "a step takes 100 ms, a validation 1000 ms: all 1000 steps fit into 200 s."
    )
    assert remark(JOB, speed, Schedule(500, 50), 60).endswith("500 of 1000 steps fit into 60 s.")
    assert remark(JOB, speed, Schedule(100, 10), 20).endswith("So few will cost accuracy: give more time.")


def test_the_rate_goes_up_and_down_once() -> None:
    rates = [rate_at(step, 100, 1.0) for step in range(100)]

    assert rates[0] == pytest.approx(1 / 25)
    assert rates[20] == 1.0
    assert rates[-1] == pytest.approx(1e-4)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert [rate_at(0, 1, 1.0), rate_at(1, 2, 1.0)] == [pytest.approx(1 / 25), 1.0]


def test_weights_decay_biases_do_not_and_gradients_are_clipped() -> None:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, 1.0)
    nn.init.constant_(network.bias, 1.0)
    optimiser = Optimiser(network, 0.1)
    norm = optimiser.step(1e-30 * network(torch.ones(1, 2)).sum(), 2, 10)  # at the highest rate, nearly no gradient

    assert norm < 1e-29
    assert network.weight.detach().flatten().tolist() == pytest.approx([1 - 0.1 * WEIGHT_DECAY] * 4)
    assert network.bias.tolist() == pytest.approx([1.0, 1.0])
    assert optimiser.step(100 * network(torch.ones(1, 2)).sum(), 3, 10) == pytest.approx(100 * 6**0.5)
    gradients = torch.cat([value.grad.flatten() for value in network.parameters()])
    assert float(gradients.norm()) == pytest.approx(5.0, rel=1e-4)


def test_the_average_begins_quickly_and_counts_what_is_no_fraction() -> None:
    network = nn.BatchNorm2d(1)
    average = Average(network, 0.9)
    nn.init.constant_(network.weight, 2.0)
    network.num_batches_tracked.fill_(7)
    average.add(network, 0)

    assert float(average.weights["weight"]) == pytest.approx(1.9)  # 0.1 of the old, min(0.9, 1 / 10)
    average.add(network, 10**6)
    assert float(average.weights["weight"]) == pytest.approx(1.91)
    assert int(average.weights["num_batches_tracked"]) == 7


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seed": -1}, "seed must be in 0 .. "),
        ({"steps": 0}, "steps must be in 1 .. 1e"),
        ({"seconds": 0.1}, "the time in seconds must be in 1 .. "),
        ({"batch": 1}, "batch must be in 2 .. 4096, got 1"),
        ({"rate": 0.0}, "the learning rate must be in"),
        ({"share": 1.0}, "the share of validation data must be in 0.01 .. 0.9, got 1"),
        ({"size": (256, 32)}, "a side of the size must be in 64 .. 1024, got 32"),
        ({"size": (256, 100)}, "a side of the size must be a multiple of 32, got 100"),
        ({"threads": 0}, "threads must be in"),
        ({"average": 1.0}, "the decay of the average"),
        ({"rate": float("nan")}, "the learning rate must be in"),
        ({"steps": 10, "seconds": 60.0}, "steps and time exclude each other"),
    ],
)
def test_plans_that_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Plan(**wrong)


def test_a_table_is_square() -> None:
    with pytest.raises(ValueError, match="2 labels need as many rows and columns"):
        Confusion(("a", "b"), ((1, 2),))
