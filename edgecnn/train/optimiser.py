"""One step of learning: AdamW, one-cycle rate, clipped gradients, and a moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

WEIGHT_DECAY = 1e-2
LARGEST_GRADIENT = 5.0
"""Norm of all gradients together above which they are scaled down to it."""
WARM_UP = 0.2
"""Share of the steps in which the rate rises."""
FIRST, LAST = 1 / 25, 1e-4
"""The rate of the first and the last step, as a share of the highest."""


def rate_at(step: int, steps: int, highest: float) -> float:
    """Return the learning rate of a step: up and down once, along cosines (Smith & Topin, arXiv:1708.07120).

    A pure function of the step, so that a training that goes on after an interruption needs no memory of it.
    """
    peak = max(1, round(WARM_UP * steps))
    if step < peak:
        return highest * _between(FIRST, 1.0, step / peak)
    return highest * _between(1.0, LAST, (step - peak) / max(steps - 1 - peak, 1))


class Optimiser:
    """Changes the weights of ``network``; weights decay, biases and batch norm do not.

    Args:
        network: Already on its device.
        highest: Highest learning rate.
    """

    def __init__(self, network: nn.Module, highest: float) -> None:
        self._parameters = [value for value in network.parameters() if value.requires_grad]
        self._highest = highest
        groups = [
            {"params": [value for value in self._parameters if value.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [value for value in self._parameters if value.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW([group for group in groups if group["params"]], highest, fused=True)

    def step(self, loss: Tensor, step: int, steps: int) -> float:
        """Learn from a loss.

        Returns:
            The norm of the gradients before they were clipped. If that is no finite number, nothing was changed.
        """
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, LARGEST_GRADIENT))
        if math.isfinite(norm):
            for group in self._adam.param_groups:
                group["lr"] = rate_at(step, steps, self._highest)
            self._adam.step()
        return norm

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on beside the weights; it changes with the next step."""
        return self._adam.state_dict()

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; of the rates, those of this object count."""
        self._adam.load_state_dict(dict(state))


class Average:
    """Moving average of a network's weights and of its batch norm's figures.

    The decay grows with the steps, so that random first weights do not linger: min(decay, (1 + step) / (10 + step)),
    as TensorFlow's ExponentialMovingAverage has it.

    Args:
        network: Already on its device.
        decay: Share of the average that stays in a step, in 0 .. 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = {key: value.detach().clone() for key, value in network.state_dict().items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with what ``weights`` held once."""
        for key, value in self.weights.items():
            value.copy_(weights[key])

    @torch.no_grad()
    def add(self, network: nn.Module, step: int) -> None:
        """Take the weights after a step in."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[key].lerp_(value, share)
            else:
                self.weights[key].copy_(value)


def _between(start: float, end: float, share: float) -> float:
    """Go from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
