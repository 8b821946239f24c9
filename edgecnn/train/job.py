"""What a task gives the trainer: a network, batches, a loss, a judgement, and at the end the card of the trained file.

The file ``edgecnn/train/jobs/<task>.py`` is the task ``edgecnn train --task <task>``. It defines::

    def job(training: Dataset, validation: Dataset, plan: Plan) -> Job

It seeds torch with ``plan.seed`` before it builds its network, which is one of a family that `edgecnn.models.trained`
can read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from edgecnn.errors import OptionError
from edgecnn.models.model_card import ModelCard

Frame = npt.NDArray[np.uint8]
MOST_SEED = 2**31 - 1
STRIDE = 32
"""What both sides of a network's input are multiples of: the networks halve them five times."""


@dataclass(frozen=True)
class Plan:
    """How to train. What is None is the job's to choose.

    Attributes:
        seed: Decides the initial weights, the batches and the split.
        steps: Optimiser steps.
        seconds: Wall-clock time to fit the steps into, after measuring; the job's steps are not exceeded.
        size: Height and width of the network's input in pixels, multiples of `STRIDE`.
        batch: Pictures a step.
        rate: Highest learning rate.
        share: Share of the data that is held out for validation, in (0, 1); unused where validation data is given.
        threads: Threads that learn; others draw batches meanwhile.
        average: Decay of the moving average of the weights a step, in 0 .. 1; 0 for none.
        backbone: File of weights to begin from; None for what the built-in network of the task has learned.
        false_rejects: Share of sound parts that may be rejected, above 0 and below 1; for anomalies.
        turns: Whether parts lie any way up under the camera, and quarter turns of them are learned from as well.

    Raises:
        OptionError: On values out of range.
    """

    seed: int = 0
    steps: int | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None
    batch: int | None = None
    rate: float | None = None
    share: float = 0.2
    threads: int = 1
    average: float = 0.0
    backbone: Path | None = None
    false_rejects: float = 0.01
    turns: bool = False

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, MOST_SEED)
        _within("steps", self.steps, 1, 10_000_000)
        _within("the time in seconds", self.seconds, 1, 1e7)
        _within("batch", self.batch, 2, 4096)
        _within("the learning rate", self.rate, 1e-7, 1)
        _within("the share of validation data", self.share, 0.01, 0.9)
        _within("the share of false rejects", self.false_rejects, 1e-6, 0.5)
        _within("threads", self.threads, 1, 1024)
        _within("the decay of the average", self.average, 0, 0.99999)
        for side in self.size or ():
            _within("a side of the size", side, 64, 1024)
            if side % STRIDE:
                raise OptionError(f"a side of the size must be a multiple of {STRIDE}, got {side}.")
        if self.steps is not None and self.seconds is not None:
            raise OptionError("steps and time exclude each other: give one of them.")


@dataclass(frozen=True)
class Confusion:
    """How often each true class was called what.

    Attributes:
        labels: Class names.
        counts: ``counts[true][said]``, as long as ``labels`` both ways.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.labels) for row in self.counts) or len(self.counts) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels need as many rows and columns, got {self.counts}")


@dataclass(frozen=True)
class Validation:
    """How good the network is on the validation data.

    Attributes:
        score: Higher is better; decides which weights are kept.
        figures: What people want to know, by name, in the order to show it in.
        confusion: None where the task has no classes.
    """

    score: float
    figures: Mapping[str, float] = field(default_factory=dict)
    confusion: Confusion | None = None


class Job(Protocol):
    """One training, as the trainer sees it. Attributes will do for the properties."""

    @property
    def family(self) -> str:
        """File in `edgecnn.models` that builds the network."""
        ...

    @property
    def arguments(self) -> Mapping[str, int]:
        """What the family's ``network(**arguments)`` was given."""
        ...

    @property
    def network(self) -> nn.Module:
        """The network, on the CPU when the job is made. The trainer moves it and changes its weights in place."""
        ...

    @property
    def steps(self) -> int:
        """Optimiser steps of a full training; the trainer takes fewer or more where the plan says so."""
        ...

    @property
    def every(self) -> int:
        """Steps between two validations of a full training; others are validated as many times."""
        ...

    @property
    def rate(self) -> float:
        """Highest learning rate, unless the plan names one."""
        ...

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Draw the batch of a step, on the CPU.

        A pure function of the plan's seed and ``step`` (0, 1, ...), called from several other threads at once. It must
        not touch the network, nor torch's global random numbers.
        """
        ...

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the loss, a scalar; the network is in training mode and the batch on the network's device.

        It may run under bfloat16 autocast: sums over many values are for ``logits.float()``.
        """
        ...

    def validate(self) -> Validation:
        """Judge the network, which is in evaluation mode, on the validation data.

        A pure function of the weights. The network may be on another device than the CPU.
        """
        ...

    def finish(self) -> tuple[ModelCard, Sequence[Frame]]:
        """Return the card of the trained file, and calibration frames; the network has the best weights and evaluates.

        Returns:
            The card, thresholds calibrated on validation data; and uint8 frames (H, W, 3) in BGR, or (H, W, 1), at the
            model's size.
        """
        ...


def _within(what: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise OptionError(f"{what} must be in {low:g} .. {high:g}, got {value:g}.")
