"""Train the networks that ship: ``python -m edgecnn.train.built_in defect --output defect.safetensors``.

The same trainer, networks and losses as ``edgecnn train``, on pictures that edgecnn draws itself, fresh ones in every
step: what ships was learned from nobody's photographs. The weights are where every training of the task begins.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn import models
from edgecnn.errors import EdgecnnError
from edgecnn.models import lane, surface
from edgecnn.models.checkpoint import save_checkpoint
from edgecnn.models.model_card import ModelCard
from edgecnn.train import device, inspection
from edgecnn.train.checkpoint import Store
from edgecnn.train.job import Confusion, Job, Plan, Validation
from edgecnn.train.jobs import defect as defects
from edgecnn.train.jobs import lane as lanes
from edgecnn.train.pictures import Image, as_input
from edgecnn.train.roads import drawn_roads
from edgecnn.train.trainer import Progress, train
from edgecnn.vision.synthetic.surfaces import KINDS, Surface, surfaces

HELD_OUT = 600
"""Surfaces that the weights are chosen by."""
LEARNED_ROADS, HELD_OUT_ROADS = (120, 12), (20, 5)
"""Roads, and pictures of each."""
SAID_EVERY = 50
INTERRUPTED = 130


class DrawnSurfaces:
    """The job of the built-in model ``defect``; see `edgecnn.train.job.Job`."""

    family = "surface"
    steps, every, rate, pictures = 2500, 500, 3e-3, 48

    def __init__(self, plan: Plan) -> None:
        self.arguments = {"height": 128, "width": 128, "classes": len(KINDS)}
        torch.manual_seed(plan.seed)
        self.network: nn.Module = surface.network(**self.arguments)
        self._seed, self._count = plan.seed, plan.batch or self.pictures
        self._held_out = list(surfaces(HELD_OUT, plan.seed, "evaluation"))

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return pictures, masks at the map's size, that they are known, and kinds."""
        drawn = list(surfaces(self._count, self._seed, "training", start=step * self._count))
        masks = torch.from_numpy(np.stack([item.mask for item in drawn]))[:, None].float() / 255.0
        labels = torch.tensor([_kind(item) for item in drawn])
        return (
            as_input([item.frame for item in drawn]),
            functional.avg_pool2d(masks, 2),
            torch.ones(len(drawn), 1),
            labels,
        )

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the loss that every surface network with classes has."""
        pictures, covered, known, labels = batch
        return defects.loss_of(self.network(pictures), covered, known, labels)

    def validate(self) -> Validation:
        """Rank, segment and name surfaces that were never learned from."""
        pixels, counts = inspection.Pixels(), np.zeros((len(KINDS), len(KINDS)), int)
        by_kind: tuple[list[float], list[float]] = ([], [])
        found = inspection.judged(self.network, [item.frame for item in self._held_out])
        for item, said in zip(self._held_out, found, strict=True):
            pixels.add(said.defective, item.mask)
            counts[_kind(item), int(np.argmax(said.classes))] += 1
            by_kind[item.label].append(said.logit)
        f1, pixel_threshold = pixels.best()
        figures = inspection.image_figures(*by_kind) | {"pixel F1": f1}
        score = float(np.mean(list(figures.values())))
        figures |= {"threshold": inspection.separating(*by_kind), "pixel threshold": pixel_threshold}
        return Validation(score, figures, Confusion(KINDS, tuple(tuple(row) for row in counts.tolist())))

    def finish(self) -> tuple[ModelCard, Sequence[Image]]:
        """Return the card that ships; its thresholds stand in the code."""
        return models.card("defect"), []


def _kind(drawn: Surface) -> int:
    return KINDS.index(drawn.kind)


class DrawnRoads:
    """The job of the built-in model ``lane``; see `edgecnn.train.job.Job`."""

    family = "lane"
    steps, every, rate = 1500, 500, 2e-3

    def __init__(self, plan: Plan) -> None:
        self.arguments = {"height": lanes.SIZE[0], "width": lanes.SIZE[1]}
        torch.manual_seed(plan.seed)
        self.network: nn.Module = lane.network(**self.arguments)
        height, width = lanes.SIZE
        learned = drawn_roads((lanes.KEPT * height, lanes.KEPT * width), plan.seed, *LEARNED_ROADS)
        held_out = drawn_roads(lanes.SIZE, plan.seed + 1, *HELD_OUT_ROADS)
        job = lanes.LaneJob(plan, self.network, lanes.Scenes(learned), held_out)
        self.batch, self.loss, self.validate = job.batch, job.loss, job.validate

    def finish(self) -> tuple[ModelCard, Sequence[Image]]:
        """Return the card that ships; its threshold stands in the code."""
        return models.card("lane"), []


JOBS: dict[str, Callable[[Plan], Job]] = {"defect": DrawnSurfaces, "lane": DrawnRoads}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print the figures, return the exit code: 0, 2 on bad options or files, 130 after Ctrl-C."""
    options = _options(arguments)
    folder = options.output.with_suffix(".train")
    try:
        plan = Plan(seed=options.seed, steps=options.steps, threads=options.threads)
        with device.repeatable(plan.threads):
            job: Job = JOBS[options.model](plan)
            train(job, plan, Store(folder, {"model": options.model, "seed": plan.seed}), torch.device("cpu"), _say)
            figures = job.validate().figures
            # Half the size, and nothing that 8 bits would keep is lost.
            save_checkpoint(job.network.half(), options.output)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with what {folder} holds", file=sys.stderr)
        return INTERRUPTED
    except EdgecnnError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.output}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return 0


def _say(progress: Progress) -> None:
    if progress.row is not None:
        print(f"step {progress.done}/{progress.steps}: {progress.row.validation.figures}", file=sys.stderr, flush=True)
    elif progress.done % SAID_EVERY == 0:
        print(f"step {progress.done}/{progress.steps}  loss {progress.loss:.4f}", file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m edgecnn.train.built_in", description="Train a built-in model.")
    parser.add_argument("model", choices=JOBS)
    parser.add_argument("--output", type=Path, required=True, help="weights file to write, .safetensors")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1, help="threads that learn; others draw")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
