"""How many steps, and how often to validate: as the job has it, as asked for, or as many as fit into a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgecnn.train.batches import drawn
from edgecnn.train.job import Job, Plan
from edgecnn.train.learner import Learner

VALIDATING = 0.2
"""Largest share of the time that validations may take; where they would take more, there are fewer."""
FEWEST_VALIDATIONS = 3
FEW_STEPS = 0.25
"""Share of the job's steps below which the user is told that the result will be worse."""
MEASURED_SHARE = 0.05
"""Share of the time that measuring steps may take."""
MEASURED_STEPS, WARM_STEPS = 20, 3
"""Steps that are measured at most, and steps before them that are not: caches are cold."""


@dataclass(frozen=True)
class Schedule:
    """Optimiser steps, and steps between two validations."""

    steps: int
    every: int


@dataclass(frozen=True)
class Speed:
    """Seconds that one step and one validation take."""

    step: float
    validation: float


def schedule(job: Job, plan: Plan) -> Schedule:
    """Return the schedule that needs no measuring: the steps asked for, or else the job's own."""
    steps = plan.steps or job.steps
    return Schedule(steps, job.every if steps == job.steps else _spread(steps, _validations(job)))


def fit(job: Job, speed: Speed, seconds: float) -> Schedule:
    """Return as much of the job's own schedule as fits into ``seconds``, at least one step."""
    own = schedule(job, Plan())
    if own.steps * speed.step + _validations(job) * speed.validation <= seconds:
        return own
    most = int(VALIDATING * seconds / max(speed.validation, 1e-9))
    validations = max(min(_validations(job), most), FEWEST_VALIDATIONS)
    left = seconds - validations * speed.validation
    steps = min(max(int(left / max(speed.step, 1e-9)), 1), own.steps)
    return Schedule(steps, _spread(steps, validations))


def remark(job: Job, speed: Speed, found: Schedule, seconds: float) -> str:
    """Say what was measured and planned."""
    text = f"a step takes {_milliseconds(speed.step)}, a validation {_milliseconds(speed.validation)}: "
    if found.steps == job.steps:
        return f"{text}all {job.steps} steps fit into {seconds:.0f} s."
    text += f"{found.steps} of {job.steps} steps fit into {seconds:.0f} s."
    return f"{text} So few will cost accuracy: give more time." if found.steps < FEW_STEPS * job.steps else text


def measure(
    job: Job, plan: Plan, device: torch.device, drawers: int, seconds: float, watch: Callable[[int, int], None]
) -> Speed:
    """Measure steps and a validation; the network is as before afterwards.

    Args:
        job: What will be trained.
        plan: How.
        device: Where.
        drawers: Threads that draw batches.
        seconds: Time that the whole training may take.
        watch: Called after every step with the steps done and to do; may raise.
    """
    weights = {key: value.clone() for key, value in job.network.state_dict().items()}
    learner, steps, times = Learner(job, plan, device), WARM_STEPS + MEASURED_STEPS, list[float]()
    started = time.monotonic()
    with drawn(job, 0, steps, drawers) as batches:
        for step, batch in enumerate(batches):
            learner.learn(batch, step, steps)
            times.append(time.monotonic())
            watch(step + 1, steps)
            if step > WARM_STEPS and times[-1] - started > MEASURED_SHARE * seconds:
                break
    before = time.monotonic()
    learner.validate()
    validation = time.monotonic() - before
    learner.load(weights)
    return Speed((times[-1] - times[WARM_STEPS - 1]) / (len(times) - WARM_STEPS), validation)


def _validations(job: Job) -> int:
    return max(1, math.ceil(job.steps / job.every))


def _spread(steps: int, validations: int) -> int:
    return max(1, math.ceil(steps / validations))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"
