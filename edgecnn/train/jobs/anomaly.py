"""Inspection without examples of defects: the network learns to find what was put on pictures of sound parts.

Half of a batch is sound; on the other half something was drawn (`defects.drawn`) or does not belong there
(`defects.foreign`). The defects that the data set has are never learned from, nor do they choose the weights: they are
only measured. The threshold is set for a wanted share of false rejects on sound parts that were not learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.errors import DataError
from edgecnn.models import surface
from edgecnn.models.model_card import ModelCard
from edgecnn.train import inspection
from edgecnn.train.augment import place
from edgecnn.train.augment.defects import drawn, foreign
from edgecnn.train.augment.light import SURFACE, Camera
from edgecnn.train.data import Dataset, load_mask
from edgecnn.train.data.samples import GOOD
from edgecnn.train.inspection import Image
from edgecnn.train.job import Plan, Validation
from edgecnn.train.losses import map_loss
from edgecnn.train.pictures import Pictures, as_input
from edgecnn.train.surfaces import BUILT_IN, SIZE, calibration, card, piece_of
from edgecnn.train.warm import warm

STEPS, BATCH, RATE, VALIDATIONS = 3600, 16, 1e-3, 8
WHOLE = 3
"""Every so many batches show whole pictures; pieces are learned from in less than half the time."""
FOREIGN = 0.5
"""Share of the changed pictures on which something does not belong there; on the others a defect is drawn."""
TRIES = 8
"""How often another change is drawn before a picture stays sound, because nothing could be seen."""
LABELS = (GOOD, "anomaly")
PRESENCE_WEIGHT = 0.5
_VALIDATION = 2
"""Changed pictures per sound one that the weights are chosen by."""


def job(training: Dataset, validation: Dataset, plan: Plan) -> AnomalyJob:
    """Make the job; see `edgecnn.train.job`.

    Raises:
        DataError: If there are too few sound parts.
    """
    return AnomalyJob(training, validation, plan)


class AnomalyJob:
    """See `edgecnn.train.job.Job`."""

    family = "surface"
    steps, rate = STEPS, RATE

    def __init__(self, training: Dataset, validation: Dataset, plan: Plan) -> None:
        self._plan, self._size = plan, plan.size or SIZE
        self.every = max(1, self.steps // VALIDATIONS)
        self.arguments = {"height": self._size[0], "width": self._size[1], "classes": 0}
        torch.manual_seed(plan.seed)
        self.network: nn.Module = warm(surface.network(**self.arguments), plan.backbone, BUILT_IN)
        sound = [[item for item in part.samples if item.label == GOOD] for part in (training, validation)]
        if not sound[0] or not sound[1]:
            raise DataError("sound parts are needed, to learn from and to set the threshold with; there are too few.")
        self._pictures, self._sound = (Pictures(part, self._size, load_mask) for part in sound)
        defects = [item for item in validation.samples if item.label != GOOD]
        self._defects = Pictures(defects, self._size, load_mask)
        self._camera = Camera(SURFACE, self._size)
        self._thresholds: dict[str, float] = {}

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return pictures, and masks at the map's size; every third batch shows whole pictures, the others pieces."""
        rng = np.random.default_rng([self._plan.seed, 2, step])
        pairs = [self._example(rng, bool(index % 2), step % WHOLE > 0) for index in range(self._plan.batch or BATCH)]
        masks = torch.from_numpy(np.stack([mask for _, mask in pairs]))[:, None].float() / 255.0
        return as_input([picture for picture, _ in pairs]), functional.avg_pool2d(masks, 2)

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the loss of the map and that of its score."""
        pictures, covered = batch
        found = self.network(pictures).float()
        is_changed = (covered.amax(dim=(1, 2, 3)) > 0).float()
        return map_loss(found, covered) + PRESENCE_WEIGHT * inspection.presence_loss(found, is_changed)

    def validate(self) -> Validation:
        """Rank held-out sound parts below changed ones, and below the defects of the data set, if it has some."""
        sound = self._logits([self._sound[index][0] for index in range(len(self._sound))])
        changed, pixels = self._judged_changed()
        self._thresholds = {
            "threshold": inspection.for_false_rejects(sound, self._plan.false_rejects),
            "pixel_threshold": pixels.best()[1],
        }
        made = inspection.image_figures(sound, changed)
        real = self._logits([self._defects[index][0] for index in range(len(self._defects))])
        figures = {f"{name} (made defects)": value for name, value in made.items()}
        figures |= {"pixel F1 (made defects)": pixels.best()[0]}
        score = float(np.mean(list(figures.values())))
        return Validation(score, figures | inspection.image_figures(sound, real))

    def finish(self) -> tuple[ModelCard, Sequence[Image]]:
        """Return the card with the threshold for the wanted false rejects, and calibration frames."""
        self.validate()
        frames = calibration(self._pictures, np.zeros(len(self._pictures), np.int64))
        return card("anomaly", self._size, LABELS, self._thresholds), [*frames, *self._changed_frames(len(frames))]

    def _example(self, rng: np.random.Generator, changed: bool, in_pieces: bool) -> tuple[Image, Image]:
        blank = np.zeros(self._size, np.uint8)
        picture = self._pictures[int(rng.integers(len(self._pictures)))][0]
        picture, mask = place.surface(rng, picture, blank, self._plan.turns)
        if changed:
            picture, mask = self._changed(rng, picture, self._pictures)
        shown = self._camera(rng, picture)
        return place.piece(rng, shown, mask, piece_of(self._size)) if in_pieces else (shown, mask)

    def _changed(self, rng: np.random.Generator, picture: Image, others: Pictures) -> tuple[Image, Image]:
        """Return a picture with something on it, and where; as it was where nothing can be seen on it."""
        for _ in range(TRIES):
            if rng.random() < FOREIGN:
                found = foreign(rng, picture, others[int(rng.integers(len(others)))][0])
            else:
                found = drawn(rng, picture)
            if found is not None:
                return found
        return picture, np.zeros(self._size, np.uint8)

    def _judged_changed(self) -> tuple[list[float], inspection.Pixels]:
        pixels, logits = inspection.Pixels(), []
        pairs = self._held_out_changes()
        for (_, mask), item in zip(pairs, inspection.judged(self.network, [shown for shown, _ in pairs]), strict=True):
            pixels.add(item.defective, mask)
            logits.append(item.logit)
        return logits, pixels

    def _held_out_changes(self) -> list[tuple[Image, Image]]:
        """Return held-out sound parts with something on them: always the same."""
        rng = np.random.default_rng([self._plan.seed, 3])
        count = min(_VALIDATION * len(self._sound), 400)
        pairs = [self._changed(rng, self._sound[at % len(self._sound)][0], self._sound) for at in range(count)]
        return [pair for pair in pairs if pair[1].any()]

    def _changed_frames(self, count: int) -> list[Image]:
        """Return frames with something on them, to calibrate what only defects excite."""
        rng = np.random.default_rng([self._plan.seed, 4])
        return [
            self._changed(rng, self._pictures[at % len(self._pictures)][0], self._pictures)[0] for at in range(count)
        ]

    def _logits(self, frames: Sequence[Image]) -> list[float]:
        return [item.logit for item in inspection.judged(self.network, frames)]
