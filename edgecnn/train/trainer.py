"""The training loop: learn, validate, keep the best weights, write checkpoints, stop in time.

What a step does depends on the seed, the step and the weights alone, so a training that was interrupted and goes on
ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from edgecnn.errors import ModelError
from edgecnn.train import plan as planning
from edgecnn.train.batches import Batch, drawn
from edgecnn.train.checkpoint import Row, State, Store
from edgecnn.train.job import Job, Plan
from edgecnn.train.learner import Learner, Memory
from edgecnn.train.optimiser import rate_at

SAVE_SECONDS = 60.0
"""A checkpoint is written at least so often, beside those at validations."""
PATIENCE = 0.5
"""Share of the planned validations without a new best score behind which training ends."""
HOPE = 0.7
"""Share of the steps behind which it does not end early any more: as the rate falls, the best weights come."""
LEAST_PATIENCE = 5
MOST_DRAWERS = 8
SMOOTHING = 0.05


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        stage: ``"measuring"``, ``"training"``, ``"validating"`` or ``"finishing"``.
        done: Steps done.
        steps: Steps planned.
        loss: Running mean of the loss; not a number before the first step.
        best: Highest score so far, None before the first validation.
        row: The validation that has just been made, None otherwise.
        remark: What the user should know now, else empty.
    """

    stage: str
    done: int
    steps: int
    loss: float = math.nan
    best: float | None = None
    row: Row | None = None
    remark: str = ""


Watch = Callable[[Progress], None]
Stop = Callable[[], bool]


def train(
    job: Job,
    plan: Plan,
    store: Store,
    device: torch.device,
    watch: Watch = lambda progress: None,
    stop: Stop = lambda: False,
) -> State:
    """Train, or go on with what ``store`` holds. The same threads of torch give the same weights.

    Args:
        job: What to train. Its network ends with the best weights, evaluating.
        plan: How.
        store: Where checkpoints go.
        device: Where to learn.
        watch: Told of every step and validation.
        stop: Asked before every step; if it says True, a checkpoint is written and KeyboardInterrupt raised.

    Raises:
        ModelError: If loss or score is no finite number, or a checkpoint cannot be read or written.
        OptionError: If the checkpoint is of another training.
        KeyboardInterrupt: After ``stop``. At any other time too, and then the last checkpoint counts.
    """
    state = store.load() if store.exists else _begun(job, plan, device, watch, stop)
    learner = Learner(job, plan, device)
    if state.network:
        learner.restore(Memory(state.network, state.optimiser, state.average))
    _Loop(learner, state, store, watch, stop).run(drawers(plan))
    learner.load(state.best or state.network)
    return state


def drawers(plan: Plan) -> int:
    """Return how many threads draw batches: the processors that learning leaves, at least one."""
    return min(max(len(os.sched_getaffinity(0)) - plan.threads, 1), MOST_DRAWERS)


def is_over(state: State) -> bool:
    """Tell whether all steps are done, or the score has not risen for long."""
    patience = max(LEAST_PATIENCE, math.ceil(PATIENCE * state.steps / state.every))
    is_stuck = state.rows_since_progress >= patience and state.done < HOPE * state.steps
    return is_stuck or state.done >= state.steps


def _begun(job: Job, plan: Plan, device: torch.device, watch: Watch, stop: Stop) -> State:
    """Return a training before its first step, its schedule measured where it must fit into a time."""
    if plan.seconds is None:
        found = planning.schedule(job, plan)
        return State(found.steps, found.every)

    def measuring(done: int, steps: int) -> None:
        if stop():
            raise KeyboardInterrupt
        watch(Progress("measuring", done, steps))

    started = time.monotonic()
    speed = planning.measure(job, plan, device, drawers(plan), plan.seconds, measuring)
    # The job's finish looks at the validation data once more.
    left = plan.seconds - (time.monotonic() - started) - speed.validation
    found = planning.fit(job, speed, left)
    watch(Progress("measuring", 0, found.steps, remark=planning.remark(job, speed, found, plan.seconds)))
    return State(found.steps, found.every)


class _Loop:
    """The steps from ``state`` on, which is kept up to date."""

    def __init__(self, learner: Learner, state: State, store: Store, watch: Watch, stop: Stop) -> None:
        self._learner, self._state, self._store, self._watch, self._stop = learner, state, store, watch, stop
        self._loss = state.losses[-1] if state.losses else math.nan

    def run(self, threads: int) -> None:
        """Train until it is over."""
        self._save()
        if is_over(self._state):
            return
        started = saved = time.monotonic()
        with drawn(self._learner.job, self._state.done, self._state.steps, threads) as batches:
            for batch in batches:
                if self._stop():
                    self._save()
                    raise KeyboardInterrupt
                validated = self._advance(batch)
                now = time.monotonic()
                self._state.seconds += now - started
                started = now
                if validated or now - saved > SAVE_SECONDS:
                    self._save()
                    saved = now
                if is_over(self._state):
                    return

    def _advance(self, batch: Batch) -> bool:
        """Take one step, and validate where that is due; tell whether it was."""
        state = self._state
        try:
            loss = self._learner.learn(batch, state.done, state.steps)
        except ModelError as error:
            raise ModelError(f"{error} {self._store.path} holds the weights from before.") from error
        state.done += 1
        state.losses.append(loss)
        self._loss = loss if math.isnan(self._loss) else self._loss + SMOOTHING * (loss - self._loss)
        self._tell("training")
        if state.done % state.every and state.done != state.steps:
            return False
        self._validate()
        return True

    def _validate(self) -> None:
        state, since = self._state, self._state.rows[-1].step if self._state.rows else 0
        self._tell("validating")
        mean = sum(state.losses[since:]) / (state.done - since)
        rate = rate_at(state.done - 1, state.steps, self._learner.rate)
        row = Row(state.done, mean, rate, self._learner.validate())
        state.rows.append(row)
        if state.best_row is row:
            state.best = self._learner.judged_weights()
        self._tell("training", row)

    def _save(self) -> None:
        memory = self._learner.memory()
        self._state.network, self._state.optimiser, self._state.average = (
            memory.network,
            memory.optimiser,
            memory.average,
        )
        self._store.save(self._state)

    def _tell(self, stage: str, row: Row | None = None) -> None:
        state, best = self._state, self._state.best_row
        score = None if best is None else best.validation.score
        self._watch(Progress(stage, state.done, state.steps, self._loss, score, row))
