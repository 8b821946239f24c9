"""A training of a few seconds: is there a dot on the grey picture? Written as a task's file is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edgecnn.models import surface
from edgecnn.models.model_card import ModelCard
from edgecnn.train.data import Dataset, load_image
from edgecnn.train.job import Confusion, Plan, Validation

Image = npt.NDArray[np.uint8]

SIDE = 64
LABELS = ("good", "dot")


def picture(rng: np.random.Generator, label: int) -> Image:
    """Return grey noise (64, 64, 3), with a dark dot for label 1."""
    frame = rng.integers(90, 166, (SIDE, SIDE, 3)).astype(np.uint8)
    if label:
        x, y = (int(value) for value in rng.integers(12, SIDE - 12, 2))
        cv2.circle(frame, (x, y), 8, (10, 10, 10), -1)
    return frame


def pictures(count: int = 12, seed: int = 0) -> tuple[Image, npt.NDArray[np.int64]]:
    """Return as many pictures with as without a dot."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    return np.stack([picture(rng, int(label)) for label in labels]), labels


def write(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Write pictures as a folder per class."""
    frames, labels = pictures(count, seed)
    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        (folder / LABELS[label]).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / LABELS[label] / f"{index:03}.png"), frame)
    return folder


class TinyJob:
    """Learns from the even pictures and is judged on all."""

    def __init__(self, frames: Image, labels: npt.NDArray[np.int64], plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.family = "surface"
        self.arguments = {"height": SIDE, "width": SIDE, "classes": len(LABELS)}
        self.network = surface.network(**self.arguments)
        self.steps, self.every, self.rate = 24, 6, 1e-2
        self._frames, self._labels, self._plan = frames, labels, plan

    def batch(self, step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((self._plan.seed, step))
        chosen = rng.choice(len(self._frames), self._plan.batch or 4)
        return torch.from_numpy(self._frames[chosen]), torch.from_numpy(self._labels[chosen])

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        frames, labels = batch
        # Dropout draws from torch's global numbers: an interruption must not change what it draws.
        found, classes = self.network(functional.dropout(_normal(frames), 0.1))
        return functional.cross_entropy(classes.float(), labels) + 0.01 * found.float().square().mean()

    def validate(self) -> Validation:
        device = next(self.network.parameters()).device
        _, classes = self.network(_normal(torch.from_numpy(self._frames).to(device)))
        said, margin = classes.argmax(1).cpu().numpy(), (classes[:, 1] - classes[:, 0]).float().cpu().numpy()
        table = np.zeros((2, 2), int)
        np.add.at(table, (self._labels, said), 1)
        right = float((said == self._labels).mean())
        score = right + 1e-3 * float(np.tanh(margin[self._labels == 1].mean() - margin[self._labels == 0].mean()))
        counts = tuple(tuple(int(count) for count in row) for row in table)
        return Validation(score, {"accuracy": right}, Confusion(LABELS, counts))

    def finish(self) -> tuple[ModelCard, list[Image]]:
        decoding = {"threshold": 0.5, "pixel_threshold": 0.5, "peak_pixels": 4}
        half = (0.5, 0.5, 0.5)
        card = ModelCard(
            "tiny", "defect", (3, SIDE, SIDE), "bgr", half, half, "stretch", labels=LABELS, decoding=decoding
        )
        return card, list(self._frames[:4])


def generated(plan: Plan) -> TinyJob:
    """Return the job on generated pictures."""
    return TinyJob(*pictures(), plan)


def job(training: Dataset, validation: Dataset, plan: Plan) -> TinyJob:
    """Return the job on a data set."""
    samples = (*training.samples, *validation.samples)
    frames = np.stack([load_image(sample) for sample in samples])
    labels = np.array([int(sample.label != LABELS[0]) for sample in samples])
    return TinyJob(frames, labels, plan)


def _normal(frames: Tensor) -> Tensor:
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1
