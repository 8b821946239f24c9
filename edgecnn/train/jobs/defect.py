"""Inspection with examples of defects: classes of pictures and, where masks were drawn, of pixels, in one network.

Half of a batch is sound; the classes of the other half come equally often, so that a rare one is learned as well. Small
defects are also moved onto other sound parts, and others are drawn there: what the built-in network knows of defects in
general is kept, and a few examples need not show all that there can be. The loss is that of the map
(`edgecnn.train.losses`) where the mask is known, the cross entropy of the classes, and that of the map's score, from
which a map is learned even without masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.errors import DataError
from edgecnn.models import surface
from edgecnn.models.model_card import ModelCard
from edgecnn.train import inspection
from edgecnn.train.augment import place
from edgecnn.train.augment.defects import drawn, moved
from edgecnn.train.augment.light import SURFACE, Camera
from edgecnn.train.data import Dataset, load_mask
from edgecnn.train.inspection import Image, Judged
from edgecnn.train.job import Confusion, Plan, Validation
from edgecnn.train.losses import map_loss
from edgecnn.train.pictures import Pictures, as_input
from edgecnn.train.surfaces import BUILT_IN, SIZE, calibration, card, piece_of
from edgecnn.train.warm import warm

Indices = npt.NDArray[np.int64]

STEPS, BATCH, RATE, VALIDATIONS = 3600, 16, 1.5e-3, 8
WHOLE = 3
"""Every so many batches show whole pictures; pieces are learned from in less than half the time."""
DRAWN = 0.2
"""Share of the defective pictures that are sound ones on which a defect was drawn, of no class."""
NO_CLASS = -1
MOVED = 0.3
"""Share of the small defects that are moved onto another part."""
LARGEST_MOVED = 0.05
"""Share of the picture above which a defect is too large to be moved."""
CLASS_WEIGHT = PRESENCE_WEIGHT = 0.5


def job(training: Dataset, validation: Dataset, plan: Plan) -> DefectJob:
    """Make the job; see `edgecnn.train.job`.

    Raises:
        DataError: If there is no sound part, or no defective one, to learn from.
    """
    return DefectJob(training, validation, plan)


class DefectJob:
    """See `edgecnn.train.job.Job`."""

    family = "surface"
    steps, rate = STEPS, RATE

    def __init__(self, training: Dataset, validation: Dataset, plan: Plan) -> None:
        self.labels, self._plan = training.labels, plan
        self._size = plan.size or SIZE
        self.every = max(1, self.steps // VALIDATIONS)
        self.arguments = {"height": self._size[0], "width": self._size[1], "classes": len(self.labels)}
        torch.manual_seed(plan.seed)
        self.network: nn.Module = warm(surface.network(**self.arguments), plan.backbone, BUILT_IN)
        self._pictures = Pictures(training.samples, self._size, load_mask)
        self._held_out = Pictures(validation.samples, self._size, load_mask)
        self._classes = _classes(training)
        self._held_out_classes = _classes(validation)
        masked = np.array(
            [sample.mask is not None or at == 0 for sample, at in zip(training.samples, self._classes, strict=True)]
        )
        self._whole, self._pieces = (
            _members(self._classes, len(self.labels), kept) for kept in (masked | True, masked)
        )
        if not self._whole[0].size or not any(members.size for members in self._whole[1:]):
            raise DataError(
                "to learn what a defect is, sound parts and defective ones are needed; one kind is missing."
            )
        self._camera = Camera(SURFACE, self._size)
        self._thresholds: dict[str, float] = {}

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return pictures, masks at the map's size, whether the mask is known, and classes.

        Every third batch shows whole pictures, the others pieces where masks say what is on them.
        """
        rng = np.random.default_rng([self._plan.seed, 1, step])
        in_pieces = step % WHOLE > 0 and any(members.size for members in self._pieces[1:])
        items = [self._example(rng, bool(index % 2), in_pieces) for index in range(self._plan.batch or BATCH)]
        known = torch.tensor([[float(item.mask is not None)] for item in items])
        masks = np.stack(
            [np.zeros(item.picture.shape[:2], np.uint8) if item.mask is None else item.mask for item in items]
        )
        covered = functional.avg_pool2d(torch.from_numpy(masks)[:, None].float() / 255.0, 2)
        return as_input([item.picture for item in items]), covered, known, torch.tensor([item.label for item in items])

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of what is said in the module's text."""
        pictures, covered, known, labels = batch
        return loss_of(self.network(pictures), covered, known, labels)

    def validate(self) -> Validation:
        """Rank, segment and name the validation pictures; the thresholds that suit them best are kept."""
        found, pixels = self._judged_held_out()
        good, defective = _by_kind([item.logit for item in found], self._held_out_classes)
        figures = inspection.image_figures(good, defective)
        f1, pixel_threshold = pixels.best()
        self._thresholds = {
            "threshold": inspection.separating(good, defective),
            "pixel_threshold": pixel_threshold,
        }
        confusion = self._confusion([item.classes for item in found])
        figures |= {"pixel F1": f1, "class accuracy": _accuracy(confusion)}
        return Validation(float(np.mean(list(figures.values()))), figures, confusion)

    def finish(self) -> tuple[ModelCard, Sequence[Image]]:
        """Return the card with the thresholds of the last validation, and calibration frames."""
        self.validate()
        return card("defect", self._size, self.labels, self._thresholds), calibration(self._pictures, self._classes)

    def _example(self, rng: np.random.Generator, defective: bool, in_pieces: bool) -> _Example:
        members = self._pieces if in_pieces else self._whole
        item = self._defective(rng, members) if defective else self._sound(rng)
        shown, mask = self._camera(rng, item.picture), item.mask
        if mask is None:
            return _Example(shown, None, item.label)
        if in_pieces:
            shown, mask = place.piece(rng, shown, mask, piece_of(self._size))
        # What lies outside the picture is no defect of it.
        return _Example(shown, mask, item.label if mask.max() >= place.MARKED else 0)

    def _defective(self, rng: np.random.Generator, members: Sequence[Indices]) -> _Example:
        if rng.random() < DRAWN:
            sound = self._sound(rng)
            made = drawn(rng, sound.picture)
            return sound if made is None else _Example(*made, NO_CLASS)
        label = int(rng.choice([at for at in range(1, len(members)) if members[at].size]))
        picture, mask = self._pictures[int(rng.choice(members[label]))]
        if mask is None:
            return _Example(self._placed(rng, picture)[0], None, label)
        shown, placed = self._placed(rng, picture, mask)
        if np.count_nonzero(mask) < LARGEST_MOVED * mask.size and rng.random() < MOVED:
            shown, placed = moved(self._sound(rng).picture, shown, placed)
        return _Example(shown, placed, label)

    def _sound(self, rng: np.random.Generator) -> _Example:
        picture, _ = self._pictures[int(rng.choice(self._whole[0]))]
        return _Example(*self._placed(rng, picture), 0)

    def _placed(self, rng: np.random.Generator, picture: Image, mask: Image | None = None) -> tuple[Image, Image]:
        mask = np.zeros(self._size, np.uint8) if mask is None else mask
        return place.surface(rng, picture, mask, self._plan.turns)

    def _judged_held_out(self) -> tuple[list[Judged], inspection.Pixels]:
        pixels, found = inspection.Pixels(), []
        frames = (self._held_out[index][0] for index in range(len(self._held_out)))
        for index, item in enumerate(inspection.judged(self.network, frames)):
            found.append(item)
            mask = self._held_out[index][1]
            if mask is not None:
                pixels.add(item.defective, mask)
        return found, pixels

    def _confusion(self, logits: Sequence[inspection.Values]) -> Confusion:
        counts = np.zeros((len(self.labels), len(self.labels)), int)
        for true, row in zip(self._held_out_classes, logits, strict=True):
            counts[true, int(np.argmax(row))] += 1
        return Confusion(self.labels, tuple(tuple(row) for row in counts.tolist()))


def loss_of(outputs: tuple[Tensor, Tensor], covered: Tensor, known: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a surface network with classes.

    Args:
        outputs: Its map (N, 1, H, W) and its classes (N, K).
        covered: How far each pixel of the map is covered by a defect, 0..1, (N, 1, H, W).
        known: 1 where that is known, 0 elsewhere, (N, 1).
        labels: Classes (N,), 0 for sound parts, `NO_CLASS` for defects of no class.
    """
    found, classes = (output.float() for output in outputs)
    presence = inspection.presence_loss(found, (labels != 0).float())
    named = functional.cross_entropy(classes, labels, ignore_index=NO_CLASS, label_smoothing=0.02)
    return map_loss(found, covered, known) + CLASS_WEIGHT * named + PRESENCE_WEIGHT * presence


@dataclass(frozen=True)
class _Example:
    """A picture (H, W, 3), its mask (H, W) in 0..255 or None where nobody drew one, and its class."""

    picture: Image
    mask: Image | None
    label: int


def _members(classes: Indices, count: int, kept: npt.NDArray[np.bool_]) -> list[Indices]:
    """Return the samples of each of ``count`` classes that are kept."""
    return [np.flatnonzero((classes == at) & kept) for at in range(count)]


def _classes(dataset: Dataset) -> Indices:
    """Return the class of each sample, by index of the labels."""
    at = {label: index for index, label in enumerate(dataset.labels)}
    return np.array([at[sample.label or ""] for sample in dataset.samples], np.int64)


def _by_kind(logits: Sequence[float], classes: Indices) -> tuple[list[float], list[float]]:
    """Return those of sound and of defective parts."""
    pairs = list(zip(logits, classes.tolist(), strict=True))
    return [logit for logit, label in pairs if label == 0], [logit for logit, label in pairs if label]


def _accuracy(confusion: Confusion) -> float:
    """Return the share of pictures that are called by their class, each class with the same weight."""
    shares = [row[at] / sum(row) for at, row in enumerate(confusion.counts) if sum(row)]
    return float(np.mean(shares)) if shares else 0.0
