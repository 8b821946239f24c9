"""A job's network and what changes its weights: one step, one validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgecnn.errors import ModelError
from edgecnn.train import device as devices
from edgecnn.train.batches import Batch
from edgecnn.train.checkpoint import Weights
from edgecnn.train.job import Job, Plan, Validation
from edgecnn.train.optimiser import Average, Optimiser

_PRIME = 1_000_003


@dataclass(frozen=True)
class Memory:
    """All that the next step depends on beside its batch; the tensors change with it."""

    network: Weights
    optimiser: dict[str, Any]
    average: Weights | None


class Learner:
    """Trains a job's network on a device.

    Args:
        job: What to train. Its network is moved to ``device`` and changed in place.
        plan: How.
        device: Where.
    """

    def __init__(self, job: Job, plan: Plan, device: torch.device) -> None:
        self.rate = plan.rate or job.rate
        self.job = job
        self._seed, self._device = plan.seed, device
        self._network = devices.place(job.network, device)
        self._bfloat16 = devices.in_bfloat16(self._network, device)
        self._optimiser = Optimiser(self._network, self.rate)
        self._average = Average(self._network, plan.average) if plan.average else None

    def learn(self, batch: Batch, step: int, steps: int) -> float:
        """Take one step and return its loss.

        Raises:
            ModelError: If loss or gradients are no finite numbers; the weights are as before then.
        """
        # What the loss draws, e.g. for dropout, depends on the step alone too.
        torch.manual_seed(self._seed * _PRIME + step)
        self._network.train()
        placed = tuple(value.to(self._device, non_blocking=True) for value in batch)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            loss = self.job.loss(placed)
        value = float(loss.detach())
        norm = self._optimiser.step(loss, step, steps) if math.isfinite(value) else math.nan
        if not math.isfinite(norm):
            raise ModelError(
                f"training diverged in step {step + 1}: the loss is {value:g}, the gradients {norm:g}. "
                f"Try a smaller learning rate than {self.rate:g} (--rate) or another --seed."
            )
        if self._average is not None:
            self._average.add(self._network, step)
        return value

    def validate(self) -> Validation:
        """Judge the network, or its moving average where there is one.

        Raises:
            ModelError: If the score is no finite number.
        """
        with self._judged(), torch.no_grad():
            found = self.job.validate()
        if not math.isfinite(found.score):
            raise ModelError(f"the validation's score is {found.score}: the validation data cannot judge this network.")
        return found

    def judged_weights(self) -> Weights:
        """Return a copy of the weights that `validate` judges, on the CPU."""
        weights = self._network.state_dict() if self._average is None else self._average.weights
        return {key: value.detach().cpu().clone() for key, value in weights.items()}

    def memory(self) -> Memory:
        """Return what `restore` takes, without copying."""
        average = None if self._average is None else self._average.weights
        return Memory(self._network.state_dict(), self._optimiser.state(), average)

    def restore(self, memory: Memory) -> None:
        """Go on where `memory` was taken."""
        self._network.load_state_dict(memory.network)
        self._optimiser.load(memory.optimiser)
        if self._average is not None and memory.average is not None:
            self._average.load(memory.average)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights into the network and let it evaluate."""
        self._network.load_state_dict(dict(weights))
        self._network.eval()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Let the network evaluate, with the average's weights meanwhile."""
        self._network.eval()
        if self._average is None:
            yield
            return
        own = {key: value.clone() for key, value in self._network.state_dict().items()}
        self._network.load_state_dict(self._average.weights)
        try:
            yield
        finally:
            self._network.load_state_dict(own)
