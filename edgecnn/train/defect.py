"""Train the built-in defect model: ``python -m edgecnn.train.defect --output defect.safetensors``.

Fresh procedural surfaces for every step, drawn by one thread while another learns. The loss is the cross entropy of
the whole picture plus that of the same classifier on every cell of the last feature map, for which the masks say where
the defect is: it shows the network where to look, and learning takes minutes. AdamW, one-cycle learning rate. The same
seed and steps give the same weights on the same machine. The file is written every `CHECKPOINT` steps, when done and
on Ctrl-C, always in one piece.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn import models
from edgecnn.errors import EdgecnnError, ModelError, OptionError
from edgecnn.models.checkpoint import save_checkpoint
from edgecnn.vision.synthetic.surfaces import Surface, surfaces

CHECKPOINT = 250
"""Steps between checkpoints."""
HELD_OUT = 2000
"""Surfaces that the final accuracy is measured on."""
CELL_WEIGHT = 4.0
"""Weight of a cell with a defect in it, against 1 for one without."""
INTERRUPTED = 130


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        steps: Optimiser steps.
        batch: Surfaces a step.
        rate: Highest learning rate.
        seed: Decides the initial weights and the surfaces.
    """

    steps: int = 2000
    batch: int = 48
    rate: float = 4e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.rate <= 0 or self.seed < 0:
            raise OptionError(
                f"training needs steps >= 1, batch >= 2, rate > 0 and seed >= 0, "
                f"got {self.steps}, {self.batch}, {self.rate} and {self.seed}."
            )


@dataclass(frozen=True)
class Batch:
    """Surfaces of one step: uint8 (N, 128, 128, 3) BGR, float32 masks (N, 1, 128, 128) of 0 and 1, labels (N,)."""

    frames: npt.NDArray[np.uint8]
    masks: Tensor
    labels: Tensor


@dataclass
class Progress:
    """Where training stands: steps done and the running mean of the loss."""

    done: int = 0
    loss: float = 2 * float(np.log(2.0))


def train(plan: Plan, output: Path, progress: Progress | None = None) -> nn.Module:
    """Train from random weights and write them to ``output``, safetensors.

    Args:
        plan: How.
        output: Weights file; written early so that an interruption never costs more than `CHECKPOINT` steps.
        progress: Updated at every step, for who watches.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        ModelError: If the file cannot be written; before the first step where its folder is missing.
    """
    if not output.parent.is_dir():
        raise ModelError(f"{output}: the folder {output.parent} does not exist. Make it first.")
    torch.manual_seed(plan.seed)
    network, progress = models.build("defect", pretrained=False), progress or Progress()
    try:
        _optimise(network, plan, output, progress)
    finally:
        if progress.done:
            save_checkpoint(network, output)
    return network.eval()


def accuracy(network: nn.Module, drawn: Iterator[Surface], batch: int = 50) -> float:
    """Return the share of surfaces whose label the network's higher logit names, in 0..1."""
    right = count = 0
    with torch.inference_mode():
        while chunk := list(islice(drawn, batch)):
            guesses = network(as_input(np.stack([surface.frame for surface in chunk]))).argmax(1)
            right += int((guesses == torch.tensor([surface.label for surface in chunk])).sum())
            count += len(chunk)
    return right / max(count, 1)


def as_input(frames: npt.NDArray[np.uint8]) -> Tensor:
    """Return uint8 (N, 128, 128, 3) BGR frames as the network's float32 (N, 3, 128, 128), normalised by its card."""
    card = models.card("defect")
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (card.mean, card.std))
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255.0 - mean) / std


def _optimise(network: nn.Module, plan: Plan, output: Path, progress: Progress) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, plan.steps, pct_start=min(0.2, 1 - 1 / plan.steps)
    )
    # Channels-last convolutions take half the time on a CPU; what is saved is contiguous again.
    nn.utils.convert_conv2d_weight_memory_format(network.train(), torch.channels_last)
    started = time.monotonic()
    for batch in _batches(plan):
        loss = _loss(network, batch)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        progress.done += 1
        progress.loss += 0.02 * (loss.item() - progress.loss)
        if progress.done % 50 == 0 or progress.done == plan.steps:
            _say(progress, plan, time.monotonic() - started)
        if progress.done % CHECKPOINT == 0:
            save_checkpoint(network, output)


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the loss of the pictures plus that of the cells, in which defects are rare and weigh more."""
    features = network.get_submodule("features")(as_input(batch.frames))
    classifier = network.get_submodule("classifier")
    side = features.shape[-1]
    cells = classifier(features.permute(0, 2, 3, 1)).flatten(0, 2)
    wanted = functional.max_pool2d(batch.masks, batch.masks.shape[-1] // side).flatten().long()
    pictures = classifier(network.get_submodule("pool")(features).flatten(1))
    local = functional.cross_entropy(cells, wanted, torch.tensor([1.0, CELL_WEIGHT]))
    return functional.cross_entropy(pictures, batch.labels, label_smoothing=0.02) + local


def _batches(plan: Plan) -> Iterator[Batch]:
    """Yield one batch a step; the next one is drawn meanwhile."""
    with ThreadPoolExecutor(1) as painter:
        coming = painter.submit(_batch, plan, 0)
        for step in range(1, plan.steps + 1):
            batch = coming.result()
            if step < plan.steps:
                coming = painter.submit(_batch, plan, step)
            yield batch


def _batch(plan: Plan, step: int) -> Batch:
    drawn = list(surfaces(plan.batch, plan.seed, "training", start=step * plan.batch))
    masks = np.stack([surface.mask for surface in drawn])[:, None].astype(np.float32) / 255
    labels = torch.tensor([surface.label for surface in drawn])
    return Batch(np.stack([surface.frame for surface in drawn]), torch.from_numpy(masks), labels)


def _say(progress: Progress, plan: Plan, seconds: float) -> None:
    left = seconds / progress.done * (plan.steps - progress.done)
    print(
        f"step {progress.done}/{plan.steps}  loss {progress.loss:.4f}  {left:.0f} s left", file=sys.stderr, flush=True
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m edgecnn.train.defect", description="Train the built-in defect model."
    )
    parser.add_argument("--output", type=Path, required=True, help="weights file to write, .safetensors")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--threads", type=int, default=1, help="threads that learn; one more draws")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print the held-out accuracy, return the exit code: 0, 2 on bad options or files, 130 after Ctrl-C."""
    options = _options(arguments)
    torch.set_num_threads(max(1, options.threads))
    progress = Progress()
    try:
        network = train(Plan(options.steps, options.batch, seed=options.seed), options.output, progress)
        share = accuracy(network, surfaces(HELD_OUT, options.seed, "evaluation"))
    except KeyboardInterrupt:
        print(f"stopped after {progress.done} steps; the weights so far are in {options.output}", file=sys.stderr)
        return INTERRUPTED
    except EdgecnnError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"held-out accuracy {share:.4f} on {HELD_OUT} surfaces; weights in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
